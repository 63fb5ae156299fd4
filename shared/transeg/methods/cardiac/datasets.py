"""Unpaired labelled volumes of two modalities: CT and MR of different patients."""

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
    """Crops labelled studies, whose modality `extractor` detects; prepared volumes fill in for a missing modality.

    Args:
        data: studies for training, or prepared volumes, which need no cropping.
        extractor: returns the volume of a study.
        datalist: datalist of prepared volumes with `training_ct`, `validation_mr` and so on; may be missing.
        folder: see `StudySlices`.
    """

    def __init__(
        self, data: Sequence[Mapping[str, Any]], extractor: CardiacVolumes, datalist: PathLike, folder: PathLike
    ) -> None:
        super().__init__(data, extractor, predict=None, folder=folder)  # type: ignore[arg-type]  # nothing is predicted
        self.datalist = Path(datalist)

    def training(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Items of both modalities, and an empty list.

        Raises:
            StudiesError: no usable labelled study, or no volume of a modality.
        """
        volumes, _ = super().training()
        items, missing = self._completed("training", volumes)
        if missing:
            raise StudiesError(
                f"nothing to train on: no {missing[0]} among the labelled studies, and none prepared in "
                f"{self.datalist}; label a study of {missing[0]} too (recognised by a file name beginning with "
                f"{missing[0].lower()}_), or prepare volumes with data_prep and set dataset_dir"
            )
        return items, []

    def validation(self, data: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Items of the validation studies, or of the training studies if there are none; prepared items unchanged."""
        found = super().validation(data)
        if not are_studies([*data, *self.data]):
            return found
        volumes, missing = self._completed("validation", found)
        for modality in missing:
            logger.warning("no %s left for validation; selecting weights without it", modality)
        return volumes

    def _completed(self, split: str, volumes: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
        """The volumes, with prepared ones of a missing modality, and the names of modalities that are still missing."""
        completed, missing = [dict(item) for item in volumes], []
        for modality in sorted(set(MODALITIES) - {item["modality"] for item in volumes}):
            prepared = read_datalist(self.datalist, f"{split}_{modality}", optional=True)
            logger.info("%s: %d prepared volumes of %s", split, len(prepared), modality.upper())
            completed += prepared
            missing += [] if prepared else [modality.upper()]
        return completed, missing


class TwoModalityDataset(Dataset):
    """CT volumes and unrelated MR volumes, each with its label.

    Source: Zhang, Yang, Zheng 2018, section 4: an epoch iterates over all volumes of the larger modality. An index is a
    pair (i, j), with i of that modality (CT in case of a tie), as drawn by `UnpairedBatchSampler`; i alone stands for
    (i, i modulo the size of the other). `transform` is applied to each volume separately, so random transforms draw
    twice.

    Args:
        data: items of both modalities, see `transeg.data.datalist`, with "modality": "ct" or "mr".
        transform: maps an item to a dict with "image" and "label" (1, X, Y, Z), e.g. a Compose beginning with
            `LoadSliced(spatial_dims=3, classes=True)`.
        studies: provides the items if `data` are whole studies, as from MONAI Label.

    Returns:
        For each index "ct", "ct_label", "mr", "mr_label" (1, X, Y, Z).

    Raises:
        ValueError: an item without a label or of another modality, or no item of a modality.
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
            raise ValueError(f"volume(s) without a label: {_names(bare)}; remove them")
        stray = [item for item in data if item.get("modality") not in MODALITIES]
        if stray:
            raise ValueError(
                f'volume(s) whose "modality" is neither "ct" nor "mr": {_names(stray)}; correct the datalist'
            )
        ct, mr = ([item for item in data if item["modality"] == name] for name in MODALITIES)
        for name, items in (("CT", ct), ("MR", mr)):
            if not items:
                raise ValueError(f"no {name} volume to train on; prepare volumes of both modalities")
        self.ct_leads = len(ct) >= len(mr)
        self.data, self.absence = (ct, mr) if self.ct_leads else (mr, ct)  # names that the sampler expects
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
