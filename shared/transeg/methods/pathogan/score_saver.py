"""Handler that saves the scores of axial slices."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.data import MetaTensor
from nibabel import aff2axcodes

from transeg.data.slices import slices_between
from transeg.files import case_name, write_text
from transeg.methods.pathogan.slice_scores import (
    PatientScore,
    SliceScore,
    SliceSummary,
    score_patient,
    summarise_patients,
)
from transeg.transforms.intensity import foreground_mask
from transeg.transforms.preprocessing import AXES

logger = logging.getLogger(__name__)

Items = list[dict[str, Any]]

PATIENT = (
    "dice",
    "dice_all",
    "pathological_slices",
    "healthy_slices",
    "left_out_slices",
    "empty_predictions",
    "false_alarms",
)


class SliceScoreSaver:
    """Save scores of axial slices as Andermatt et al. 2018 report them, gathered over all processes.

    Writes `slices.csv` (a row per pathological or healthy slice), `patients.csv` (a row per case) and
    `slices_summary.json`, replacing earlier ones; undefined values are empty or null. The main figures are added to the
    evaluator's metrics (`val_slice_dice` and others), so handlers that print or save metrics must come later in its
    list. Slices whose "image" is all background are skipped. Pixels are those of the preprocessed grid.

    Args:
        save_dir: folder, created if missing.
        pred_key: mask (1, X, Y, Z) on the preprocessed grid; copy it before it is inverted.
        label_key: mask of the same shape, with its affine.
        first: height of the lowest scored slice in mm above the bottom slice.
        last: height of the highest scored slice, likewise; None for all.
        min_area: label area in mm^2 that a pathological slice must exceed; slices with a smaller label are left out.
    """

    def __init__(
        self,
        save_dir: PathLike,
        pred_key: str = "pred",
        label_key: str = "label",
        first: float = 60.0,
        last: float | None = 100.0,
        min_area: float = 20.0,
    ) -> None:
        self.save_dir, self.pred_key, self.label_key = Path(save_dir), pred_key, label_key
        self.first, self.last, self.min_area = first, last, min_area
        self._patients: dict[str, PatientScore] = {}

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self._patients.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _score(self, engine: Engine) -> None:
        """Score the cases of a batch.

        Raises:
            ValueError: two cases have one name, or masks are not binary or not on the preprocessed grid.
        """
        batch, output = cast(Items, engine.state.batch), cast(Items, engine.state.output)
        for loaded, predicted in zip(batch, output, strict=True):
            item = loaded | predicted
            case = case_name(item, "image")
            if case in self._patients:
                raise ValueError(f'{case}: two cases have this name; give each its own "case"')
            label: MetaTensor = item[self.label_key]
            prediction, truth = self._masks(case, item[self.pred_key], label)
            *pixel, thickness = label.pixdim.tolist()
            scored = self._scored_slices(case, item["image"], thickness)
            # plus a millionth, so that rounding of the affine does not decide whether an area just exceeds the limit
            min_pixels = self.min_area / math.prod(pixel) * (1 + 1e-6)
            self._patients[case] = score_patient(prediction, truth, scored, min_pixels)

    def _masks(self, case: str, *volumes: MetaTensor) -> list[np.ndarray]:
        prediction, label = volumes
        axes = "".join(aff2axcodes(label.affine.cpu().numpy()))
        if axes not in AXES.values() or prediction.shape != label.shape or label.ndim != 4 or len(label) != 1:
            raise ValueError(
                f"{case}: {self.pred_key} {tuple(prediction.shape)} and {self.label_key} {tuple(label.shape)} ({axes}) "
                "must be (1, X, Y, Z) on one preprocessed grid; copy the mask before Invertd, and pass the copy"
            )
        masks = [volume[0].detach().cpu().numpy() for volume in volumes]
        if any(((mask != 0) & (mask != 1)).any() for mask in masks):
            raise ValueError(f"{case}: {self.pred_key} and {self.label_key} must be 0 or 1; threshold them first")
        return masks

    def _scored_slices(self, case: str, image: MetaTensor, thickness: float) -> list[int]:
        shown = foreground_mask(image)[0].any(dim=0).any(dim=0).tolist()
        chosen = [z for z in slices_between(len(shown), thickness, self.first, self.last) if shown[z]]
        if not chosen:
            last = "the top" if self.last is None else f"{self.last:g} mm"
            logger.warning("%s: no slices to score from %g to %s", case, self.first, last)
        return chosen

    def __call__(self, engine: Engine) -> None:
        """Gather the cases of all processes and set the metrics on each; rank 0 writes the files."""
        gathered = [self._patients]
        if idist.get_world_size() > 1:
            gathered = cast(list[dict[str, PatientScore]], idist.all_gather(self._patients))
        patients = dict(sorted((pair for part in gathered for pair in part.items()), key=lambda pair: pair[0]))
        summary = summarise_patients(list(patients.values()))
        engine.state.metrics.update(_figures(summary))
        if idist.get_rank() == 0:
            rows = [{"case": case} | score._asdict() for case, patient in patients.items() for score in patient.slices]
            write_text(self.save_dir / "slices.csv", _table(("case", *SliceScore._fields), rows))
            rows = [{"case": case} | _patient_row(patient) for case, patient in patients.items()]
            write_text(self.save_dir / "patients.csv", _table(("case", *PATIENT), rows))
            settings = {"first": self.first, "last": self.last, "min_area": self.min_area}
            text = json.dumps(_without_nan(settings | asdict(summary)), indent=1) + "\n"
            write_text(self.save_dir / "slices_summary.json", text)


def _patient_row(patient: PatientScore) -> dict[str, Any]:
    values = asdict(summarise_patients([patient])) | {"dice": patient.dice, "dice_all": patient.dice_all}
    return {name: values[name] for name in PATIENT}


def _figures(summary: SliceSummary) -> dict[str, float]:
    spreads = ("slice_dice", "slice_hd95", "slice_avd", "patient_dice", "patient_dice_all")
    means = {f"val_{name}": getattr(summary, name).mean for name in spreads}
    return means | {f"val_{name}": getattr(summary, name) for name in ("empty_predictions", "false_alarm_rate")}


def _table(fields: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return int(value) if isinstance(value, bool) else value


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
