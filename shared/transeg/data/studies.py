"""Whole studies as training data: their slices are extracted when a training run starts.

`data_prep` prepares a dataset once. MONAI Label instead passes the labelled studies of its folder,
[{"image": file, "label": file}], to each training run; unlabelled studies lie next to them.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
from monai.config import PathLike

from transeg.data.datalist import read_datalist, with_presence, write_datalist
from transeg.data.finder import survey
from transeg.data.slices import CaseSlices, write_slices
from transeg.data.volumes import VolumeDataset
from transeg.errors import StudiesError
from transeg.files import volume_stem
from transeg.references import parse

logger = logging.getLogger(__name__)


class SliceExtractor(Protocol):
    """How a method turns a study into slices, or into a stack of one volume."""

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Extract slices from {"image": files, "label": file}; "label" is absent for an unlabelled study."""

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled slices to domains by the predicted probability of the lesion.

        Only called for methods that predict, see `StudySlices`.

        Args:
            images: extracted slices (N, C, X, Y).
            probability: (N, X, Y).

        Returns:
            Masks (N,) of the slices confidently in the presence and in the absence domain.
        """


Predict = Callable[[Sequence[Mapping[str, Any]]], np.ndarray | None]


def are_studies(data: Sequence[Mapping[str, Any]]) -> bool:
    """Whether items are whole volumes rather than slices of stacks."""
    return any("index" not in item for item in data)


class StudySlices:
    """Extracts stacks of slices from labelled and unlabelled studies.

    Slices of labelled studies are assigned to a domain by their label, those of unlabelled studies by the current
    weights where these are confident: presence (without label), absence, or neither. With several processes, the first
    one extracts. Unusable studies are logged and skipped.

    Args:
        data: training studies, or slices, which are used as they are.
        extractor: extracts the slices of a study.
        predict: probability (N, X, Y) of the lesion in slices given as items, or None if there are no weights yet;
            unlabelled studies are then skipped. None: the method does not use unlabelled studies.
        folder: for the stacks; replaces those of the previous training run.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        extractor: SliceExtractor,
        predict: Predict | None,
        folder: PathLike,
    ) -> None:
        self.data, self.extractor, self.predict, self.folder = data, extractor, predict, Path(folder)

    def training(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Presence and absence items of the training studies and of the unlabelled studies next to them.

        Raises:
            StudiesError: no labelled study, or none that shows the target structure.
        """
        if not self.data:
            raise StudiesError(
                "nothing to train on: no prepared slice shows the target structure, and no study has a label; "
                "prepare the data with a larger labelled fraction, or in MONAI Label submit a label"
            )
        unlabelled = studies_without_label(self.data) if self.predict is not None else ()
        presence, absence = self._lists("training", self.data, unlabelled)
        if not any("label" in item for item in presence):
            raise StudiesError(
                f"nothing to train on: none of the {len(self.data)} labelled studies is readable and "
                "contains enough of the target structure (see log); label more studies"
            )
        return presence, absence

    def validation(self, data: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Items of the validation studies, or of the labelled training studies if there are none; slices unchanged."""
        if are_studies(data):
            data = with_presence(*self._lists("validation", data))
        if data or not are_studies(self.data):
            return data
        logger.warning("no validation studies left; selecting weights on the labelled training studies")
        return with_presence(*self._lists("validation", self.data))

    def _lists(
        self, name: str, labelled: Sequence[Mapping[str, Any]], unlabelled: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        path = self.folder / name / "datalist.json"
        if idist.get_rank() == 0:
            shutil.rmtree(path.parent, ignore_errors=True)
            presence, absence = self._extract_all(path.parent, labelled)
            if unlabelled:
                more = self._extract_all(path.parent, unlabelled, self.predict)
                presence, absence = presence + more[0], absence + more[1]
            counts = {"labelled studies": len(labelled), "unlabelled studies": len(unlabelled)}
            counts |= {"presence": len(presence), "with a label": sum("label" in item for item in presence)}
            counts |= {"absence": len(absence)}
            logger.info("%s: %s", name, ", ".join(f"{count} {what}" for what, count in counts.items()))
            lists = {"presence": presence, "absence": absence}
            write_datalist(
                path,
                lists,
                name=f"Studies for {name}",
                description="Slices extracted at the start of a training run.",
                recipe={"channels": [], "labels": ["background", "foreground"]},
                preparation=counts,
            )
        idist.barrier()
        return read_datalist(path, "presence"), read_datalist(path, "absence")

    def _extract_all(
        self, folder: Path, studies: Sequence[Mapping[str, Any]], predict: Predict | None = None
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Items of both domains, by label, or by prediction with `predict`."""
        presence: list[dict[str, Any]] = []
        absence: list[dict[str, Any]] = []
        dataset = VolumeDataset(studies, self.extractor)
        for study in dataset.items:
            try:
                slices = self.extractor(study)
            except Exception as error:
                dataset.fail(study["case"], error)
                continue
            dropped = ", ".join(f"{count} {reason}" for reason, count in slices.dropped.items())
            logger.info("%s: %d slices, dropped %s", study["case"], len(slices.fields), dropped)
            shown, free = write_slices(folder, study["case"], slices)
            if predict is None:
                shown = [item | {"label": f"labels/{study['case']}.npy"} for item in shown]
            else:
                shown, free = self._assign(folder, free, slices, predict)
            presence += shown
            absence += free
        return presence, absence

    def _assign(
        self, folder: Path, items: list[dict[str, Any]], slices: CaseSlices, predict: Predict
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Assign all slices of an unlabelled study to domains; none without weights."""
        if not items:
            return [], []
        probability = predict([item | {"image": str(folder / item["image"])} for item in items])
        if probability is None:
            return [], []
        parts = self.extractor.assign_domain(slices.images, probability)
        shown, free = ([item for item, is_in in zip(items, part, strict=True) if is_in] for part in parts)
        return shown, free


def studies_without_label(data: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Scans next to the labelled images, by the rules of `survey`, that have no file of the same name with the labels.

    MONAI Label stores labels in a separate folder under the name of their image. Where images and labels share a
    folder they cannot be told apart, so none is returned.
    """
    found = []
    places = {(Path(item["image"]).parent, Path(item["label"]).parent) for item in data if "label" in item}
    for images, labels in sorted(places):
        labelled = {volume_stem(path) for path in labels.iterdir()}
        cases = survey(images).cases if images != labels else ()
        scans = sorted({parse(image).path for case in cases for image in case.images.values()})
        found += [{"image": str(path)} for path in scans if path.parent == images and volume_stem(path) not in labelled]
    return found
