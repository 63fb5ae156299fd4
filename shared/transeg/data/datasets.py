"""Pairs of slices that do not belong together: one with the lesion, one without."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import monai
from torch.utils.data import Dataset

from transeg.data.studies import StudySlices, are_studies
from transeg.errors import DataError


class UnpairedDataset(Dataset):
    """Presence slices, each with an unrelated absence slice.

    An index is i or a pair (i, j), presence and absence; i alone stands for (i, i modulo the number of absence
    slices). `UnpairedBatchSampler` draws the pairs. `transform` is applied to either item on its own, so random
    transforms draw twice.

    Args:
        data: presence items, see `transeg.data.datalist`.
        absence: absence items, or None for training without that domain.
        transform: from an item to a dict with "image" (C, X, Y), "label" (1, X, Y) and "labelled", such as a
            Compose that begins with `LoadSliced`.
        studies: makes the items of both domains where `data` are whole studies, as MONAI Label gives them.

    Returns:
        For each index "image" (C, X, Y), "label" (1, X, Y), "labelled" bool and, with that domain,
        "absence" (C, X, Y).

    Raises:
        DataError: an empty list.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        absence: Sequence[Mapping[str, Any]] | None,
        transform: Callable[[dict[str, Any]], Mapping[str, Any]],
        studies: StudySlices | None = None,
    ) -> None:
        if studies is not None and (are_studies(data) or not data):
            data, found = studies.training()
            absence = None if absence is None else found
        if not data:
            raise DataError(
                "no presence slice: the list of slices with the lesion is empty; check the datalist and, if the list "
                "was cut to the labelled slices, prepare the data with a larger labelled fraction"
            )
        if absence is not None and not absence:
            raise DataError(
                "no absence slice: the list of slices without the lesion is empty, so nothing shows what healthy looks "
                "like; prepare more volumes or lower the area that a slice must show, or train without the absence "
                "domain (absence: null; segmentation only)"
            )
        self.data = data
        self.absence = absence
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        i, j = index if isinstance(index, tuple) else (index, index)
        presence = self.transform(dict(self.data[i]))
        item = {key: presence[key] for key in ("image", "label", "labelled")}
        if self.absence is not None:
            item["absence"] = self.transform(dict(self.absence[j % len(self.absence)]))["image"]
        return item


class SliceDataset(monai.data.Dataset):
    """Single slices, for validation; several processes share them.

    Args:
        data: items, see `transeg.data.datalist`.
        transform: as for `UnpairedDataset`.
        studies: makes the items where there are whole studies instead, as MONAI Label gives them.

    Raises:
        DataError: fewer items than processes; one without any would not take part in what they compute together.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[dict[str, Any]], Mapping[str, Any]],
        studies: StudySlices | None = None,
    ) -> None:
        super().__init__(_own_share(data if studies is None else studies.validation(data)), transform)


def _own_share(items: Sequence[Any]) -> Sequence[Any]:
    count = idist.get_world_size()
    if len(items) < count and count > 1:
        raise DataError(
            f"{len(items)} items cannot be shared by {count} processes; validate on more slices, or train with fewer "
            f"processes"
        )
    return items[idist.get_rank() :: count] if count > 1 else items
