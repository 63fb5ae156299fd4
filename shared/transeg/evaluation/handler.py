"""Handler that scores the masks of a bundle's evaluation as `transeg evaluate` scores written ones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config import PathLike

from transeg.data.volumes import VolumeDataset
from transeg.errors import reason, root_cause
from transeg.evaluation.references import Reference, read_classes
from transeg.evaluation.rows import EMPTY_MASK, METHOD, Row, score_case
from transeg.evaluation.summary import MEAN, summarise, write_evaluation
from transeg.files import case_name

logger = logging.getLogger(__name__)

FIGURES = {  # measures by name of the metric
    "mean_dice": "dice",
    "hd95_mm": "hd95_mm",
    "assd_mm": "assd_mm",
    "detection_rate": "detection_rate",
    "false_alarm_rate": "false_alarm_rate",
}


class ScoreSaver:
    """Score every case of an evaluation, gathered over all processes; those that fail count as missing masks.

    Writes `evaluation.csv`, `evaluation.json` and `evaluation.md`, see `transeg evaluate`. Means over patients and
    structures of Dice, distances and false alarms are added to the evaluator's metrics (`val_mean_dice` and others), so
    handlers that print these must come later in its list.

    Args:
        save_dir: folder, made if needed.
        dataset: of the evaluation, which knows the cases that fail.
        recipe: "labels", "axis", and how label files are read.
        label_recipe: overrides of it for the evaluated data.
    """

    def __init__(
        self,
        save_dir: PathLike,
        dataset: VolumeDataset,
        recipe: Mapping[str, Any],
        label_recipe: Mapping[str, Any] | None = None,
    ) -> None:
        self.save_dir, self.dataset, self.recipe = Path(save_dir), dataset, {**recipe, **(label_recipe or {})}
        self._rows: list[Row] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose items hold "pred" and "label", classes (1, X, Y, Z) or one-hot."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self._rows.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _score(self, engine: Engine) -> None:
        batch, output = (cast(list[dict[str, Any]], part) for part in (engine.state.batch, engine.state.output))
        for loaded, predicted in zip(batch, output, strict=True):
            item = loaded | predicted
            self._add(item, _classes(item["pred"]), _classes(item["label"]), item["label"].affine.cpu().numpy())

    def _add(self, item: Mapping[str, Any], mask: np.ndarray | None, truth: np.ndarray, affine: np.ndarray) -> None:
        case = case_name(item, "image")
        about = {"run": 1, "case": case, "patient": item.get("patient", case), "seen": item.get("seen", "")}
        for method, found in ((METHOD, mask), (EMPTY_MASK, np.zeros_like(truth))):
            self._rows += score_case(found, truth, affine, self.recipe, method=method, **about)

    def __call__(self, engine: Engine) -> None:
        """Gather the rows of all processes and set the metrics on each; rank 0 writes the files."""
        for item in self.dataset.items:
            if item["case"] in self.dataset.failures:
                self._add_failed(item)
        gathered = [self._rows]
        if idist.get_world_size() > 1:
            gathered = cast(list[list[Row]], idist.all_gather(self._rows))
        order = {name: k for k, name in enumerate((METHOD, EMPTY_MASK))}
        rows = sorted((row for part in gathered for row in part), key=lambda row: (order[row["method"]], row["case"]))
        if not rows:  # every case failed; that ends the evaluation
            return
        summary = summarise(rows, METHOD)
        engine.state.metrics.update(_figures(summary))
        if idist.get_rank() == 0:
            write_evaluation(self.save_dir, rows, summary, METHOD)

    def _add_failed(self, item: Mapping[str, Any]) -> None:
        """A case without a mask counts, if its reference can be read."""
        try:
            truth, affine = read_classes(Reference(item["case"], "", item["label"], item.get("spacing")), self.recipe)
        except Exception as error:
            cause = root_cause(error)
            logger.warning("%s cannot be scored: %s", item["case"], reason(cause))
        else:
            self._add(item, None, truth, affine)


def _classes(volume: torch.Tensor) -> np.ndarray:
    """Classes uint8 (X, Y, Z) of a mask (1, X, Y, Z) or one-hot classes (C, X, Y, Z)."""
    found = volume.argmax(dim=0) if len(volume) > 1 else volume[0]
    return found.numpy(force=True).astype(np.uint8)


def _figures(summary: Mapping[str, Any]) -> dict[str, float]:
    """Means of the masks for the evaluator's metrics, over structures if there are several."""
    scores = summary.get(MEAN, next(iter(summary.values())))["methods"][METHOD]["scores"]
    return {f"val_{name}": scores[measure].get("mean", float("nan")) for name, measure in FIGURES.items()}
