"""The baselines of GenSeg (Vorontsov et al., section 4.1) on `BaselineNet`, besides plain `SegmentationObjective`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from transeg.losses.reconstruction import absolute_error
from transeg.methods.genseg.losses import prediction_consistency
from transeg.methods.genseg.networks import BaselineNet
from transeg.objectives.supervision import segmentation_loss, supervised


@dataclass
class Autoencoding:
    """What one iteration of `AutoencodingObjective` computes; fields as in `GenSegTranslation`."""

    x_p: Tensor
    x_a: Tensor
    x_pp: Tensor
    x_aa: Tensor
    labelled: Tensor
    y: Tensor
    seg: Tensor | None


class AutoencodingObjective:
    """Segmentation, and reconstruction of both domains from the same code. Networks: ``generator``.

    Args:
        segment_absence: as in `GenSegObjective`.
        cross_entropy: likewise.
    """

    def __init__(self, segment_absence: bool = False, cross_entropy: float = 0.0) -> None:
        self.segment_absence, self.cross_entropy = segment_absence, cross_entropy

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> Autoencoding:
        """Batch: ``image`` and ``absence`` (n, C, *S), ``label`` (n, K, *S), ``labelled`` (n,) bool."""
        net, x_p, x_a = cast(BaselineNet, nets["generator"]), batch["image"], batch["absence"]
        code, skips = net.encode(torch.cat([x_p, x_a]))
        x_pp, x_aa = torch.tanh(net.reconstructor(code, skips)).split(len(x_p))
        rows, y = supervised(batch, self.segment_absence)
        seg = net.segment(code[rows], [s[rows] for s in skips]) if len(rows) > 0 else None
        return Autoencoding(x_p, x_a, x_pp, x_aa, batch["labelled"], y, seg)

    def generators(self, nets: Mapping[str, nn.Module], t: Autoencoding) -> dict[str, Tensor]:
        """Loss of the segmentation, as of GenSeg, and absolute error of the reconstructions (eq. 8)."""
        error = absolute_error(t.x_pp, t.x_p) + absolute_error(t.x_aa, t.x_a)
        return {"segmentation": segmentation_loss(t.seg, t.y, self.cross_entropy), "reconstruction": error}


@dataclass
class TeacherAndStudent:
    """What one iteration of `MeanTeacherObjective` computes; other fields as in `GenSegTranslation`."""

    x_p: Tensor
    x_a: Tensor
    student: Tensor  # logits of presence, then absence images
    teacher: Tensor
    labelled: Tensor
    y: Tensor
    seg: Tensor | None


class MeanTeacherObjective:
    """Segmentation, and agreement with an average of past weights (Perone & Cohen-Adad 2018).

    Networks: ``generator`` (the student) and ``teacher``, its exponential moving average.

    Args:
        segment_absence: as in `GenSegObjective`.
        cross_entropy: likewise.
    """

    def __init__(self, segment_absence: bool = False, cross_entropy: float = 0.0) -> None:
        self.segment_absence, self.cross_entropy = segment_absence, cross_entropy

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> TeacherAndStudent:
        """Batch as for `AutoencodingObjective`."""
        x_p, x_a = batch["image"], batch["absence"]
        images = torch.cat([x_p, x_a])
        student = nets["generator"](images)
        with torch.no_grad():
            teacher = nets["teacher"](images)
        rows, y = supervised(batch, self.segment_absence)
        seg = student[rows] if len(rows) > 0 else None
        return TeacherAndStudent(x_p, x_a, student, teacher, batch["labelled"], y, seg)

    def generators(self, nets: Mapping[str, nn.Module], t: TeacherAndStudent) -> dict[str, Tensor]:
        """Loss of the segmentation, as of GenSeg, and squared difference of student's and teacher's probabilities."""
        consistency = prediction_consistency(t.student, t.teacher)
        segmentation = segmentation_loss(t.seg, t.y, self.cross_entropy)
        return {"segmentation": segmentation, "consistency": consistency}
