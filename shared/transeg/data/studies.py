"""Whole studies as training data: volumes that become slices of both domains when a training starts.

`data_prep` prepares a data set once. MONAI Label instead gives a bundle the labelled studies of its folder,
[{"image": file, "label": file}], at the start of each training; the studies without a label lie beside them.
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

from transeg.data.datalist import read_datalist, write_datalist
from transeg.data.slices import CaseSlices, write_slices
from transeg.data.volumes import VolumeDataset

logger = logging.getLogger(__name__)


class StudiesError(SystemExit):
    """Nothing to train on.

    An exit, so that the reason is the last line of the training's output, of which MONAI Label shows no more than
    twenty, with status 1 and no traceback below it.
    """


class SliceExtractor(Protocol):
    """How a method makes slices of a study, or a stack of one volume."""

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Extract the slices of {"image": files, "label": file}, the latter only if it is labelled."""

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which slices (N,) surely show the lesion, and which surely do not, by its predicted probability.

        Needed by methods that predict.
        """


def are_studies(data: Sequence[Mapping[str, Any]]) -> bool:
    """Whether items are whole volumes rather than slices of stacks."""
    return any("index" not in item for item in data)


class StudySlices:
    """Cuts studies into stacks of slices, with labels and without.

    Slices of labelled studies go to the domain that their label tells. Those of studies without a label go to the one
    that the current weights are sure of: presence without label, absence, or neither. Over several processes the first
    one cuts. A study that cannot be used is logged and left out.

    Args:
        data: studies for training, or slices, which need no cutting.
        extractor: how a study becomes slices.
        predict: probability (N, X, Y) in slices given as items, or None where there are no weights yet; studies
            without a label are then left out, as they always are by a method that has no use for them (None).
        folder: for the stacks, which replace those of the last training.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        extractor: SliceExtractor,
        predict: Callable[[Sequence[Mapping[str, Any]]], np.ndarray | None] | None,
        folder: PathLike,
    ) -> None:
        self.data, self.extractor, self.predict, self.folder = data, extractor, predict, Path(folder)

    def training(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Presence and absence items of the studies for training and of those beside them without a label.

        Raises:
            StudiesError: no study with a label, or none of theirs shows what is to be learned.
        """
        if not self.data:
            raise StudiesError(
                "nothing to train on: nothing prepared that shows what is to be learned, and no study with a label; "
                "prepare the data with a larger labelled fraction, or in MONAI Label submit a label"
            )
        unlabelled = studies_without_label(self.data) if self.predict is not None else ()
        presence, absence = self._lists("training", self.data, unlabelled)
        if not any("label" in item for item in presence):
            raise StudiesError(
                f"nothing to train on: none of the {len(self.data)} labelled studies can be read and shows enough "
                "of what is to be learned (the log says why); label more studies"
            )
        return presence, absence

    def validation(self, data: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Items of the studies for validation; of those for training if none is left; slices as they are."""
        if are_studies(data):
            presence, absence = self._lists("validation", data)
            data = presence + absence
        if data or not are_studies(self.data):
            return data
        logger.warning("no study is left for validation, so weights are chosen by the labelled ones of the training")
        presence, absence = self._lists("validation", self.data)
        return presence + absence

    def _lists(
        self, name: str, labelled: Sequence[Mapping[str, Any]], unlabelled: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        path = self.folder / name / "datalist.json"
        if idist.get_rank() == 0:
            shutil.rmtree(path.parent, ignore_errors=True)
            presence, absence = self._extract_all(path.parent, labelled, labelled=True)
            if unlabelled:
                more = self._extract_all(path.parent, unlabelled, labelled=False)
                presence, absence = presence + more[0], absence + more[1]
            counts = {"labelled studies": len(labelled), "unlabelled studies": len(unlabelled)}
            counts |= {"presence": len(presence), "with a label": sum("label" in item for item in presence)}
            counts |= {"absence": len(absence)}
            logger.info("%s: %s", name, ", ".join(f"{count} {what}" for what, count in counts.items()))
            lists = {"presence": presence, "absence": absence}
            text = {"name": f"Studies for {name}", "description": "Slices cut at the start of a training."}
            recipe = {"channels": [], "labels": ["background", "foreground"]}
            write_datalist(path, lists, **text, recipe=recipe, preparation=counts)
        idist.barrier()
        return read_datalist(path, "presence"), read_datalist(path, "absence")

    def _extract_all(
        self, folder: Path, studies: Sequence[Mapping[str, Any]], labelled: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
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
            if labelled:
                shown = [item | {"label": f"labels/{study['case']}.npy"} for item in shown]
            else:
                shown, free = self._sorted(folder, free, slices)
            presence += shown
            absence += free
        return presence, absence

    def _sorted(self, folder: Path, items: list[dict[str, Any]], slices: CaseSlices) -> tuple[list, list]:
        """Split the items of all slices of a study without a label; both parts are empty without weights."""
        if not items:
            return [], []
        probability = self.predict([item | {"image": str(folder / item["image"])} for item in items])
        if probability is None:
            return [], []
        parts = self.extractor.assign_domain(slices.images, probability)
        return tuple([item for item, is_in in zip(items, part, strict=True) if is_in] for part in parts)


def studies_without_label(data: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """NIfTI files in the folders of the images of labelled studies that have no label in the folders of the labels.

    MONAI Label keeps labels under the name of their image, in a folder of their own; where images and labels share a
    folder nothing tells them apart, so none is found.
    """
    found = []
    places = {(Path(item["image"]).parent, Path(item["label"]).parent) for item in data if "label" in item}
    for images, labels in sorted(places):
        labelled = {_stem(path) for path in labels.iterdir()}
        for path in sorted(images.glob("*.nii*")) if images != labels else ():
            if not path.name.startswith(".") and _stem(path) not in labelled:
                found.append({"image": str(path)})
    return found


def _stem(path: Path) -> str:
    name = path.name
    for suffix in (".gz", ".nii", ".nrrd"):
        name = name.removesuffix(suffix)
    return name
