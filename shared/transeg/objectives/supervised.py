"""Supervised segmentation as an objective: the baseline of several methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transeg.objectives.supervision import segmentation_loss, supervised


@dataclass
class Prediction:
    """Results of one iteration of a baseline; ``seg`` and ``y`` have only the images with a mask."""

    x_p: Tensor
    x_a: Tensor | None = None
    seg: Tensor | None = None
    y: Tensor | None = None
    labelled: Tensor | None = None


class SegmentationObjective:
    """Supervised segmentation of the labelled images. Networks: ``generator``.

    Args:
        segment_absence: treat absence images as labelled with an empty mask (as in all baselines).
    """

    def __init__(self, segment_absence: bool = False) -> None:
        self.segment_absence = segment_absence

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> Prediction:
        """Batch: ``image`` (n, C, *S), ``label`` (n, K, *S), ``labelled`` (n,) bool."""
        t = Prediction(x_p=batch["image"], x_a=batch.get("absence"), labelled=batch["labelled"])
        rows, t.y = supervised(batch, self.segment_absence)
        if len(rows) > 0:
            images = torch.cat([t.x_p, batch["absence"]]) if self.segment_absence else t.x_p
            t.seg = nets["generator"](images[rows])
        return t

    def generators(self, nets: Mapping[str, nn.Module], t: Prediction) -> dict[str, Tensor]:
        """Soft Dice loss (eq. 7)."""
        assert t.y is not None  # from forward
        return {"segmentation": segmentation_loss(t.seg, t.y)}
