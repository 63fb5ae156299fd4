"""Supervised baselines: values by hand, gradients, and images without a mask."""

import math

import pytest
import torch
from torch import nn
from transeg.objectives.supervised import DeepSupervisionObjective


class Maps(nn.Module):
    """Two maps of logits from images of one channel: the image, and its double."""

    def forward(self, image):
        return torch.stack([image, 2 * image], dim=1)


def batch_of(labelled):
    image = torch.tensor([1.0, -1.0], dtype=torch.double).view(2, 1, 1, 1)
    return {"image": image, "label": (image > 0).double(), "labelled": torch.tensor(labelled)}


def test_value_of_two_maps_by_hand():
    objective, nets = DeepSupervisionObjective(), {"generator": Maps()}
    t = objective.forward(nets, batch_of([True, False]))  # one voxel, a lesion, with logits 1 and 2
    assert t.seg.shape == (1, 1, 1, 1)

    def loss(logit):
        s = 1 / (1 + math.exp(-logit))
        return 1 - (2 * s + 1) / (1 + s + 1) + math.log1p(math.exp(-logit))

    expected = (loss(1.0) + 0.5 * loss(2.0)) / 1.5
    assert objective.generators(nets, t)["segmentation"].item() == pytest.approx(expected, rel=1e-6)


def test_gradient():
    objective = DeepSupervisionObjective()
    y = torch.randint(2, (2, 1, 3, 3)).double()

    def value(maps):
        nets = {"generator": lambda image: maps}
        batch = {"image": y, "label": y, "labelled": torch.tensor([True, True])}
        return objective.generators(nets, objective.forward(nets, batch))["segmentation"]

    assert torch.autograd.gradcheck(value, torch.randn(2, 2, 1, 3, 3, dtype=torch.double, requires_grad=True))


def test_absence_images_count_as_empty_and_no_mask_costs_nothing():
    nets = {"generator": Maps()}
    none = DeepSupervisionObjective()
    t = none.forward(nets, batch_of([False, False]))
    assert none.generators(nets, t)["segmentation"].item() == 0
    objective = DeepSupervisionObjective(segment_absence=True)
    batch = batch_of([False, False]) | {"absence": torch.zeros(3, 1, 1, 1)}
    t = objective.forward(nets, batch)
    assert t.maps.shape == (3, 2, 1, 1, 1)
    assert objective.generators(nets, t)["segmentation"] > math.log(2)
