"""Unpaired volumes of two domains, such as CT and MR of different patients, with labels of both or of one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from torch.utils.data import Dataset

from transeg.data.datalist import read_datalist
from transeg.data.studies import StudySlices, are_studies
from transeg.errors import DataError, StudiesError
from transeg.methods.cardiac.domains import DOMAIN
from transeg.methods.cardiac.volumes import CardiacVolumes

logger = logging.getLogger(__name__)


class TwoDomainStudies(StudySlices):
    """Crops labelled studies, whose domain `extractor` detects; prepared volumes fill in for a missing domain.

    Args:
        data: studies for training, or prepared volumes, which need no cropping.
        extractor: returns the volume of a study.
        datalist: datalist of prepared volumes with `training_ct`, `validation_mr` and so on; may be missing.
        domains: names of A and B.
        folder: see `StudySlices`.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        extractor: CardiacVolumes,
        datalist: PathLike,
        domains: Sequence[str],
        folder: PathLike,
    ) -> None:
        super().__init__(data, extractor, predict=None, folder=folder)  # type: ignore[arg-type]  # nothing is predicted
        self.datalist, self.domains = Path(datalist), tuple(domains)

    def training(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Items of both domains, and an empty list.

        Raises:
            StudiesError: no usable labelled study, or no volume of a domain.
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
        for domain in missing:
            logger.warning("no %s left for validation; selecting weights without it", domain)
        return volumes

    def _completed(self, split: str, volumes: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
        """The volumes, with prepared ones of a missing domain, and the names of domains that are still missing."""
        completed, missing = [dict(item) for item in volumes], []
        present = {item[DOMAIN] for item in volumes}
        for domain in (name for name in self.domains if name not in present):
            prepared = read_datalist(self.datalist, f"{split}_{domain}", optional=True)
            prepared = [item for item in prepared if split == "training" or "label" in item]
            logger.info("%s: %d prepared volumes of %s", split, len(prepared), domain.upper())
            completed += prepared
            missing += [] if prepared else [domain.upper()]
        return completed, missing


class TwoDomainDataset(Dataset):
    """Volumes of A and unrelated volumes of B, with labels where these are known.

    Source: Zhang, Yang, Zheng 2018, section 4: an epoch iterates over all volumes of the larger domain. An index is a
    pair (i, j), with i of that domain (A in case of a tie), as drawn by `UnpairedBatchSampler`; i alone stands for
    (i, i modulo the size of the other). `transform` is applied to each volume separately, so random transforms draw
    twice.

    Args:
        data: items of both domains, see `transeg.data.datalist`, with "domain"; those without "label" are unlabelled.
        transform: maps an item to a dict with "image" (C, X, Y, Z), "label" (1, X, Y, Z) and "labelled", e.g. a Compose
            beginning with `LoadSliced(spatial_dims=3, classes=True)`.
        domains: names of A and B.
        studies: provides the items if `data` are whole studies, as from MONAI Label.

    Returns:
        For each index "a", "a_label", "a_labelled" and "b", "b_label", "b_labelled".

    Raises:
        DataError: an item of another domain, no item of a domain, or no label at all.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        transform: Callable[[dict[str, Any]], Mapping[str, Any]],
        domains: Sequence[str],
        studies: StudySlices | None = None,
    ) -> None:
        if studies is not None and (are_studies(data) or not data):
            data, _ = studies.training()
        stray = [item for item in data if item.get(DOMAIN) not in domains]
        if stray:
            names = ", ".join(str(item.get("case", item.get("image"))) for item in stray[:5])
            raise DataError(
                f"volume(s) whose domain is neither {' nor '.join(domains)}: {names}; correct the datalist or prepare "
                "the data again"
            )
        a, b = ([item for item in data if item[DOMAIN] == name] for name in domains)
        for name, items in zip(domains, (a, b), strict=True):
            if not items:
                raise DataError(f"no {name.upper()} volume to train on; prepare volumes of both domains")
        if not any("label" in item for item in data):
            raise DataError("no training volume has a label; label some volumes of at least one domain")
        self.domains, self.a_leads = tuple(domains), len(a) >= len(b)
        self.data, self.absence = (a, b) if self.a_leads else (b, a)  # names that the sampler expects
        self.transform = transform

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int | tuple[int, int]) -> dict[str, Any]:
        i, j = index if isinstance(index, tuple) else (index, index)
        pair = self.data[i], self.absence[j % len(self.absence)]
        drawn = zip("ab", map(self.transform, map(dict, pair if self.a_leads else pair[::-1])), strict=True)
        return {
            key: volume[part]
            for name, volume in drawn
            for key, part in ((name, "image"), (f"{name}_label", "label"), (f"{name}_labelled", "labelled"))
        }

    def leads(self, item: Mapping[str, Any]) -> bool:
        """Whether an item is of the domain of `data` and not of that of `absence`."""
        return (item[DOMAIN] == self.domains[0]) == self.a_leads


def unlabelled_domains(datalist: PathLike, domains: Sequence[str]) -> list[str]:
    """Names of the domains whose training volumes have no label; none without a datalist."""
    lists = {name: read_datalist(datalist, f"training_{name}", optional=True) for name in domains}
    return [name for name, items in lists.items() if items and not any("label" in item for item in items)]


def validation_volumes(datalist: PathLike, domains: Sequence[str]) -> list[dict[str, Any]]:
    """The labelled validation volumes of both domains; warns of a domain that has none."""
    lists = {name: read_datalist(datalist, f"validation_{name}") for name in domains}
    labelled = {name: [item for item in items if "label" in item] for name, items in lists.items()}
    for name in (name for name, items in labelled.items() if not items):
        others = [other.upper() for other, items in labelled.items() if items]
        scored = f"the scores are those of {' and '.join(others)} alone" if others else "nothing is scored"
        logger.warning("%s: no labelled %s for validation; %s", datalist, name.upper(), scored)
    return [item for items in labelled.values() for item in items]
