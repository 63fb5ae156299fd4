"""Pairs of labelled volumes of two modalities that do not belong together: CT and MR of different patients."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from torch.utils.data import Dataset

from transeg.data.datalist import read_datalist
from transeg.data.studies import StudySlices, are_studies
from transeg.errors import StudiesError
from transeg.methods.cardiac.modality import MODALITIES
from transeg.methods.cardiac.volumes import CardiacVolumes

logger = logging.getLogger(__name__)


class TwoModalityStudies(StudySlices):
    """Crops labelled studies, whose modality `extractor` tells; what no study shows comes from prepared volumes.

    Args:
        data: studies for training, or prepared volumes, which need no cropping.
        extractor: makes a volume of a study.
        datalist: of prepared volumes, `training_ct`, `validation_mr` and so on; there may be none.
        folder: see `StudySlices`.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], extractor: CardiacVolumes, datalist: PathLike, folder: PathLike
    ) -> None:
        super().__init__(data, extractor, predict=None, folder=folder)
        self.datalist = Path(datalist)

    def training(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Items of both modalities, and an empty list.

        Raises:
            StudiesError: no study with a label that can be used, or a modality of which there is nothing.
        """
        volumes, _ = super().training()
        volumes, missing = self._completed("training", volumes)
        if missing:
            raise StudiesError(
                f"nothing to train on: no {missing[0]} among the labelled studies, and none prepared in "
                f"{self.datalist}; label a study of {missing[0]} too (a file whose name begins with "
                f"{missing[0].lower()}_ is taken for one), or prepare volumes with data_prep and set dataset_dir"
            )
        return volumes, []

    def validation(self, data: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Items of the studies for validation, or of those for training if none is left; prepared ones as they are."""
        found = super().validation(data)
        if not are_studies([*data, *self.data]):
            return found
        volumes, missing = self._completed("validation", found)
        for modality in missing:
            logger.warning("no %s is left for validation, so weights are chosen without it", modality)
        return volumes

    def _completed(
        self, split: str, volumes: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Mapping[str, Any]], Sequence[str]]:
        """The volumes with prepared ones of a modality that they lack, and names of what is lacking still."""
        completed, missing = list(volumes), []
        for modality in sorted(set(MODALITIES) - {item["modality"] for item in volumes}):
            prepared = read_datalist(self.datalist, f"{split}_{modality}", optional=True)
            logger.info("%s: %d prepared volumes of %s", split, len(prepared), modality.upper())
            completed += prepared
            missing += [] if prepared else [modality.upper()]
        return completed, missing


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
        studies: makes the items where `data` are whole studies, as MONAI Label gives them.

    Returns:
        For each index "ct", "ct_label", "mr", "mr_label" (1, X, Y, Z).

    Raises:
        ValueError: an item without a label or of another modality, or none of a modality.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[dict[str, Any]], Mapping[str, Any]],
        studies: StudySlices | None = None,
    ) -> None:
        if studies is not None and (are_studies(data) or not data):
            data, _ = studies.training()
        bare = [item for item in data if "label" not in item]
        if bare:
            raise ValueError(f"volume(s) without a label: {_names(bare)}; leave them out")
        stray = [item for item in data if item.get("modality") not in MODALITIES]
        if stray:
            raise ValueError(
                f'volume(s) whose "modality" is neither "ct" nor "mr": {_names(stray)}; correct the datalist'
            )
        ct, mr = ([item for item in data if item["modality"] == name] for name in MODALITIES)
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
