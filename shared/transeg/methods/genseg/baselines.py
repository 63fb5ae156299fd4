"""The baselines that GenSeg is compared against (Vorontsov et al., section 4.1), on `BaselineNet`."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from transeg.losses.reconstruction import absolute_error
from transeg.methods.genseg.losses import prediction_consistency
from transeg.objectives.supervised import Prediction
from transeg.objectives.supervision import segmentation_loss, supervised


class AutoencodingObjective:
    """Segmentation, and reconstruction of both domains from the same code. Networks: ``generator``."""

    def __init__(self, segment_absence: bool = False) -> None:
        self.segment_absence = segment_absence

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> Prediction:
        """Batch as for `SegmentationObjective`, with ``absence`` (n, C, *S)."""
        net, n = nets["generator"], len(batch["image"])
        t = Prediction(x_p=batch["image"], x_a=batch["absence"], labelled=batch["labelled"])
        code, skips = net.encode(torch.cat([t.x_p, t.x_a]))
        t.x_pp, t.x_aa = torch.tanh(net.reconstructor(code, skips)).split(n)
        rows, t.y = supervised(batch, self.segment_absence)
        if len(rows) > 0:
            t.seg = net.segment(code[rows], [s[rows] for s in skips])
        return t

    def generators(self, nets: Mapping[str, nn.Module], t: Prediction) -> dict[str, Tensor]:
        """Soft Dice loss (eq. 7) and absolute error of the reconstructions (eq. 8)."""
        error = absolute_error(t.x_pp, t.x_p) + absolute_error(t.x_aa, t.x_a)
        return {"segmentation": segmentation_loss(t.seg, t.y), "reconstruction": error}


class MeanTeacherObjective:
    """Segmentation, and agreement with an average of past weights (Perone & Cohen-Adad 2018).

    Networks: ``generator`` (the student) and ``teacher``, its exponential moving average.
    """

    def __init__(self, segment_absence: bool = False) -> None:
        self.segment_absence = segment_absence

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> Prediction:
        """Batch as for `AutoencodingObjective`."""
        t = Prediction(x_p=batch["image"], x_a=batch["absence"], labelled=batch["labelled"])
        images = torch.cat([t.x_p, t.x_a])
        t.student = nets["generator"](images)
        with torch.no_grad():
            t.teacher = nets["teacher"](images)
        rows, t.y = supervised(batch, self.segment_absence)
        if len(rows) > 0:
            t.seg = t.student[rows]
        return t

    def generators(self, nets: Mapping[str, nn.Module], t: Prediction) -> dict[str, Tensor]:
        """Soft Dice loss (eq. 7) and squared difference of student's and teacher's probabilities."""
        consistency = prediction_consistency(t.student, t.teacher)
        return {"segmentation": segmentation_loss(t.seg, t.y), "consistency": consistency}
