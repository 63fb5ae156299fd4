"""Supervised segmentation as an objective: the baseline of several methods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transeg.losses.precision import at_least_float32
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
        cross_entropy: see `segmentation_loss`.
    """

    def __init__(self, segment_absence: bool = False, cross_entropy: float = 0.0) -> None:
        self.segment_absence, self.cross_entropy = segment_absence, cross_entropy

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> Prediction:
        """Batch: ``image`` (n, C, *S), ``label`` (n, K, *S), ``labelled`` (n,) bool."""
        t = Prediction(x_p=batch["image"], x_a=batch.get("absence"), labelled=batch["labelled"])
        rows, t.y = supervised(batch, self.segment_absence)
        if len(rows) > 0:
            images = torch.cat([t.x_p, batch["absence"]]) if self.segment_absence else t.x_p
            t.seg = nets["generator"](images[rows])
        return t

    def generators(self, nets: Mapping[str, nn.Module], t: Prediction) -> dict[str, Tensor]:
        """See `segmentation_loss`."""
        assert t.y is not None  # from forward
        return {"segmentation": segmentation_loss(t.seg, t.y, self.cross_entropy)}


@dataclass
class DeepPrediction(Prediction):
    """Results of one iteration of `DeepSupervisionObjective`; ``seg`` is the finest of the ``maps``."""

    maps: Tensor | None = None


class DeepSupervisionObjective(SegmentationObjective):
    """Soft Dice loss and cross-entropy of a network that predicts at several resolutions, as of nnU-Net.

    Isensee et al. 2021. Networks: ``generator``, which returns logits (n, maps, K, *S), finest first.

    Args:
        segment_absence: as in `SegmentationObjective`.
        cross_entropy: likewise.
    """

    def __init__(self, segment_absence: bool = False, cross_entropy: float = 1.0) -> None:
        super().__init__(segment_absence, cross_entropy)

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> DeepPrediction:
        """Batch as for `SegmentationObjective`."""
        t = DeepPrediction(**vars(super().forward(nets, batch)))
        if t.seg is not None:
            t.maps, t.seg = t.seg, t.seg[:, 0]
        return t

    def generators(self, nets: Mapping[str, nn.Module], t: Prediction) -> dict[str, Tensor]:
        """Mean over the maps, where each counts half as much as the next finer one."""
        assert t.y is not None  # from forward
        if not isinstance(t, DeepPrediction) or t.maps is None:
            return super().generators(nets, t)
        maps = at_least_float32(t.maps)
        y, weights = t.y.to(maps.dtype), [0.5**level for level in range(maps.shape[1])]
        losses = [
            weight * segmentation_loss(logits, y, self.cross_entropy)
            for weight, logits in zip(weights, maps.unbind(1), strict=True)
        ]
        return {"segmentation": torch.stack(losses).sum() / sum(weights)}
