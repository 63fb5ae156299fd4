"""Loss of the images that have a mask."""

import math

import pytest
import torch
from torch import nn
from transeg.methods.genseg.baselines import AutoencodingObjective, MeanTeacherObjective
from transeg.methods.genseg.networks import BaselineNet, GenSegNet
from transeg.methods.genseg.objective import GenSegObjective
from transeg.objectives.supervised import SegmentationObjective
from transeg.objectives.supervision import segmentation_loss


def test_dice_and_cross_entropy_by_hand():
    logits, y = torch.tensor([[[0.0, math.log(3)]]]).double(), torch.tensor([[[0.0, 1.0]]])  # probabilities 1/2, 3/4
    dice = 1 - (2 * 0.75 + 1) / (1 + 1.25 + 1)
    cross_entropy = (math.log(2) + math.log(4 / 3)) / 2
    assert segmentation_loss(logits, y).item() == pytest.approx(dice)
    assert segmentation_loss(logits, y, 2.0).item() == pytest.approx(dice + 2 * cross_entropy)
    assert segmentation_loss(None, y[:0], 2.0).item() == 0


def test_gradient():
    y = torch.randint(2, (2, 1, 3, 3))
    logits = torch.randn(2, 1, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda seg: segmentation_loss(seg, y, 0.7), logits)


@pytest.mark.parametrize(
    "kind",
    [GenSegObjective, AutoencodingObjective, MeanTeacherObjective, SegmentationObjective],
    ids=lambda k: k.__name__,
)
def test_all_objectives_of_one_table_take_it(kind):
    torch.manual_seed(0)
    options = {"reconstruct": True} if kind is AutoencodingObjective else {}
    net = (GenSegNet if kind is GenSegObjective else BaselineNet)(2, 1, 1, width=2, levels=3, **options)
    nets = {"generator": net, "teacher": net, "d_a": _Judge(), "d_p": _Judge()}
    x = torch.randn(2, 1, 16, 16)
    batch = {"image": x, "absence": x, "label": (x > 0).float(), "labelled": torch.tensor([True, True])}
    objective = kind(cross_entropy=0.5)
    t = objective.forward(nets, batch)
    found = objective.generators(nets, t)["segmentation"]
    assert torch.allclose(found, segmentation_loss(t.seg, t.y, 0.5))
    assert found > segmentation_loss(t.seg, t.y)


class _Judge(nn.Module):
    def forward(self, x):
        return [x]
