"""Datasets of unpaired slices, one with the lesion and one without, of single slices, and of held-out pairs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import ignite.distributed as idist
import monai
import numpy as np
from torch.utils.data import Dataset

from transeg.data.studies import StudySlices, are_studies
from transeg.errors import DataError


class UnpairedDataset(Dataset):
    """Presence slices, each paired with an unrelated absence slice.

    Indexed by i or by a pair (i, j) of presence and absence; i alone means (i, i mod number of absence slices).
    `UnpairedBatchSampler` draws the pairs. `transform` is applied to the two items separately, with its own random
    numbers for each.

    Args:
        data: presence items, see `transeg.data.datalist`.
        absence: absence items, or None to train without that domain.
        transform: item -> dict with "image" (C, X, Y), "label" (1, X, Y) and "labelled", such as a Compose that starts
            with `LoadSliced`.
        studies: provides the items of both domains if `data` are whole studies, as from MONAI Label.

    Returns:
        Per index: "image" (C, X, Y), "label" (1, X, Y), "labelled" (bool) and, with that domain, "absence" (C, X, Y).

    Raises:
        DataError: no presence slice or, with that domain, no absence slice.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        absence: Sequence[Mapping[str, Any]] | None,
        transform: Callable[[dict[Any, Any]], Mapping[Any, Any]],
        studies: StudySlices | None = None,
    ) -> None:
        if studies is not None and (are_studies(data) or not data):
            data, found = studies.training()
            absence = None if absence is None else found
        if not data:
            raise DataError(
                "no presence slice: the list of slices with the lesion is empty; check the datalist or, if only "
                "labelled slices are used, prepare the data with a larger labelled fraction"
            )
        if absence is not None and not absence:
            raise DataError(
                "no absence slice: the list of lesion-free slices is empty; prepare patients whose presence is no, or "
                "give the slices that show the lesion (such as 40-73) instead of yes; or lower the minimum area"
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

    def leads(self, item: Mapping[str, Any]) -> bool:
        """Whether an item is of the domain of `data` and not of that of `absence`."""
        return bool(item.get("presence", True))


class PairedDataset(Protocol):
    """A dataset of pairs of items of two domains, as this module's and the methods' own."""

    data: Sequence[Mapping[str, Any]]
    absence: Sequence[Mapping[str, Any]] | None
    transform: Callable[[dict[Any, Any]], Mapping[Any, Any]]

    def leads(self, item: Mapping[str, Any]) -> bool:
        """Whether an item is of the domain of `data` and not of that of `absence`."""


Paired = TypeVar("Paired", bound=PairedDataset)


def held_out_pairs(
    dataset: Paired,
    items: Sequence[Mapping[str, Any]],
    transform: Callable[[dict[Any, Any]], Mapping[Any, Any]],
    number: int,
) -> Paired:
    """Pairs like those of a training dataset, of held-out items and without any label.

    Args:
        dataset: the training dataset.
        items: held-out items; of a domain that has none, training items are taken.
        transform: as for the dataset, without augmentation.
        number: of items of each domain, evenly spread.
    """
    pairs = copy.copy(dataset)
    lead = [item for item in items if dataset.leads(item)] or dataset.data
    other = [item for item in items if not dataset.leads(item)] or dataset.absence
    pairs.data, pairs.transform = _unlabelled(lead, number), transform
    pairs.absence = None if dataset.absence is None or other is None else _unlabelled(other, number)
    return pairs


def _unlabelled(items: Sequence[Mapping[str, Any]], number: int) -> list[dict[str, Any]]:
    places = np.linspace(0, len(items) - 1, min(number, len(items))).round().astype(int)
    return [{key: value for key, value in items[place].items() if key != "label"} for place in places]


class SliceDataset(monai.data.Dataset):
    """Single slices for validation, split across processes.

    Args:
        data: items, see `transeg.data.datalist`.
        transform: as for `UnpairedDataset`.
        studies: provides the items if `data` are whole studies, as from MONAI Label.

    Raises:
        DataError: fewer items than processes; a process without items could not join collective operations.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[dict[Any, Any]], Mapping[Any, Any]],
        studies: StudySlices | None = None,
    ) -> None:
        self.items = data if studies is None else studies.validation(data)  # of all processes
        super().__init__(_own_share(self.items), transform)


def _own_share(items: Sequence[Any]) -> Sequence[Any]:
    count = idist.get_world_size()
    if len(items) < count and count > 1:
        raise DataError(
            f"{len(items)} items cannot be split across {count} processes; validate on more slices or use fewer"
        )
    return items[idist.get_rank() :: count] if count > 1 else items
