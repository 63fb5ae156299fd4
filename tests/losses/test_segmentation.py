import pytest
import torch
from transeg.losses.segmentation import soft_dice


def test_soft_dice_is_pooled_over_the_batch():
    logits = torch.logit(torch.tensor([[[[0.9, 0.2]]], [[[0.5, 0.6]]]]))
    reference = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    expected = 1 - (2 * (0.9 + 0.6) + 1) / (2 + 2.2 + 1)
    assert soft_dice(logits, reference).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_averages_over_classes():
    logits = torch.logit(torch.tensor([[[[0.9]], [[0.25]]]]))
    reference = torch.tensor([[[[1.0]], [[0.0]]]])
    expected = (1 - 2.8 / 2.9 + 1 - 1 / 1.25) / 2
    assert soft_dice(logits, reference).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_of_no_labelled_sample_is_zero():
    assert soft_dice(torch.empty(0, 1, 4, 4), torch.empty(0, 1, 4, 4)).item() == 0


def test_gradient(check_gradient):
    reference = torch.tensor([[[1.0, 0.0, 0.0, 1.0, 1.0, 0.0]]], dtype=torch.double)
    check_gradient(lambda a: soft_dice(a.reshape(1, 1, -1), reference), 1)
