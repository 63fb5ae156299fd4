"""Pairs of labelled volumes of two modalities that do not belong together: CT and MR of different patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset


class TwoModalityDataset(Dataset):
    """CT volumes and unrelated MR volumes, each with its label.

    Source: Zhang, Yang, Zheng 2018, section 4: an epoch goes through all volumes of the modality that has more. An
    index is a pair (i, j), i of that modality (CT if they have as many), as `UnpairedBatchSampler` draws them; i alone
    stands for (i, i modulo the number of the other). `transform` is applied to either on its own, so random
    transforms draw twice.

    Args:
        data: items of both, see `transeg.data.datalist`, with "modality": "ct" or "mr".
        transform: from an item to a dict with "image" and "label" (1, X, Y, Z), such as a Compose that begins with
            `LoadSliced(spatial_dims=3, classes=True)`.

    Returns:
        For each index "ct", "ct_label", "mr", "mr_label" (1, X, Y, Z).

    Raises:
        ValueError: an item without a label or of another modality, or none of a modality.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], transform: Callable[[dict[str, Any]], Mapping[str, Any]]
    ) -> None:
        bare = [item for item in data if "label" not in item]
        if bare:
            raise ValueError(f"volume(s) without a label: {_names(bare)}; leave them out")
        stray = [item for item in data if item.get("modality") not in ("ct", "mr")]
        if stray:
            raise ValueError(
                f'volume(s) whose "modality" is neither "ct" nor "mr": {_names(stray)}; correct the datalist'
            )
        ct, mr = ([item for item in data if item["modality"] == name] for name in ("ct", "mr"))
        for name, items in (("CT", ct), ("MR", mr)):
            if not items:
                raise ValueError(f"no {name} volume to train on: the list is empty; prepare volumes of both modalities")
        self.ct_leads = len(ct) >= len(mr)
        self.data, self.absence = (ct, mr) if self.ct_leads else (mr, ct)  # the names that the sampler knows
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        i, j = index if isinstance(index, tuple) else (index, index)
        first, second = self.data[i], self.absence[j % len(self.absence)]
        ct, mr = (self.transform(dict(item)) for item in ((first, second) if self.ct_leads else (second, first)))
        return {"ct": ct["image"], "ct_label": ct["label"], "mr": mr["image"], "mr_label": mr["label"]}


def _names(items: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(item.get("case", item.get("image"))) for item in items[:5])
