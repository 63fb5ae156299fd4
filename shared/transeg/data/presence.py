"""Scores of an evaluation for which there are image-level labels but no masks."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.metrics import compute_roc_auc

from transeg.data.slices import slices_between
from transeg.files import case_name, write_text
from transeg.metrics.presence import lesion_score
from transeg.transforms.intensity import foreground_mask

logger = logging.getLogger(__name__)


class SlicePresence(NamedTuple):
    """A slice on the preprocessed grid."""

    case: str
    slice: int
    present: bool
    score: float


class PresenceScoreSaver:
    """Compare predictions with image-level labels, see `PresenceAUC`; gathered over all processes.

    Writes `presence.csv` (a row per slice: case, slice of the preprocessed grid, present, score) and
    `presence_summary.json`: numbers and AUC of the slices, and of the patients by their highest slice. The AUCs are
    added to the evaluator's metrics, so handlers that print these must come later in its list. An AUC without slices
    (patients) of both kinds is null.

    Args:
        save_dir: folder, created if missing.
        first: height of the lowest slice in mm above the bottom slice.
        last: height of the highest slice, likewise; None for all.
    """

    def __init__(self, save_dir: PathLike, first: float = 0.0, last: float | None = None) -> None:
        self.save_dir, self.first, self.last = Path(save_dir), first, last
        self._slices: list[SlicePresence] = []

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator whose items hold "image" (C, X, Y, Z), "pred" and "presence" (1, X, Y, Z)."""
        engine.add_event_handler(Events.EPOCH_STARTED, lambda: self._slices.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _score(self, engine: Engine) -> None:
        batch, output = (cast(list[dict[str, Any]], part) for part in (engine.state.batch, engine.state.output))
        for loaded, predicted in zip(batch, output, strict=True):
            item = loaded | predicted
            case, image = case_name(item, "image"), item["image"]
            shown = foreground_mask(image)[0].any(dim=0).any(dim=0)
            for z in slices_between(len(shown), float(image.pixdim[-1]), self.first, self.last):
                if shown[z]:
                    present, score = bool(item["presence"][..., z].any()), float(lesion_score(item["pred"][..., z]))
                    self._slices.append(SlicePresence(case, z, present, score))

    def __call__(self, engine: Engine) -> None:
        """Gather the slices of all processes and set the metrics on each; rank 0 writes the files."""
        gathered = [self._slices]
        if idist.get_world_size() > 1:
            gathered = cast(list[list[SlicePresence]], idist.all_gather(self._slices))
        slices = sorted(SlicePresence(*one) for part in gathered for one in part)
        summary = {"slices": _summary(slices), "patients": _summary(_patients(slices))}
        aucs = {f"val_presence_auc_{what}": part["auc"] for what, part in summary.items()}
        engine.state.metrics.update({name: math.nan if auc is None else auc for name, auc in aucs.items()})
        if idist.get_rank() == 0:
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(SlicePresence._fields)
            writer.writerows((one.case, one.slice, int(one.present), f"{one.score:.4f}") for one in slices)
            write_text(self.save_dir / "presence.csv", text.getvalue())
            write_text(self.save_dir / "presence_summary.json", json.dumps(summary, indent=1) + "\n")


def _patients(slices: Sequence[SlicePresence]) -> list[SlicePresence]:
    """Of each case its highest score, and whether any slice is known to show the lesion."""
    cases: dict[str, SlicePresence] = {}
    for one in slices:
        best = cases.setdefault(one.case, one)
        cases[one.case] = one._replace(present=one.present or best.present, score=max(one.score, best.score))
    return list(cases.values())


def _summary(scored: Sequence[SlicePresence]) -> Mapping[str, Any]:
    present = sum(one.present for one in scored)
    both = 0 < present < len(scored)
    scores, labels = (torch.tensor([float(getattr(one, name)) for one in scored]) for name in ("score", "present"))
    return {
        "present": present,
        "absent": len(scored) - present,
        "auc": float(cast(float, compute_roc_auc(scores, labels))) if both else None,
    }
