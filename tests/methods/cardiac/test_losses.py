import math

import pytest
import torch
from transeg.methods.cardiac.losses import voxel_cross_entropy


def test_voxel_cross_entropy_by_hand():
    probability = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])  # of two voxels
    logits = probability.log().T.reshape(1, 3, 2) + 5  # of any size, the differences count
    for label in (torch.tensor([[[0, 1]]]), torch.tensor([[[0.0, 1.0]]])):
        assert voxel_cross_entropy(logits, label).item() == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    half = torch.tensor([[[30000.0], [-30000.0], [0.0]]], dtype=torch.float16)
    assert voxel_cross_entropy(half, torch.tensor([[[1]]])).item() == pytest.approx(60000)


def test_voxel_cross_entropy_refuses_labels_without_a_class():
    with pytest.raises(IndexError, match="420"):
        voxel_cross_entropy(torch.zeros(1, 6, 2), torch.tensor([[[0, 420]]]))


def test_gradient(check_gradient):
    label = torch.tensor([[[2, 0]]])
    check_gradient(lambda a: voxel_cross_entropy(a.reshape(1, 3, 2), label), 1)


def test_no_labelled_volume_costs_nothing():
    assert voxel_cross_entropy(torch.zeros(0, 3, 2, 2, requires_grad=True), torch.zeros(0, 1, 2, 2)) == 0
