"""Entropy, disagreement and agreement of probabilities, against values computed by hand."""

from math import log

import numpy as np
import pytest
import torch
from transeg.metrics.uncertainty import classes_of, doubtful_region, entropy, mutual_information, pairwise_dice


def bits(*probabilities):
    return -sum(p * log(p) for p in probabilities)


def test_entropy_of_an_only_structure_and_of_several():
    only = torch.tensor([[0.0, 0.25, 0.5, 0.9, 1.0]])
    expected = [0.0, bits(0.25, 0.75) / log(2), 1.0, bits(0.9, 0.1) / log(2), 0.0]
    torch.testing.assert_close(entropy(only), torch.tensor([expected]))
    torch.testing.assert_close(entropy(torch.cat([1 - only, only])), entropy(only))
    three = torch.tensor([[1 / 3, 0.5, 1.0], [1 / 3, 0.5, 0.0], [1 / 3, 0.0, 0.0]])
    torch.testing.assert_close(entropy(three), torch.tensor([[1.0, log(2) / log(3), 0.0]]))


def test_members_that_contradict_disagree_and_those_that_share_a_doubt_do_not():
    members = torch.tensor([[[0.0, 0.5, 0.2]], [[1.0, 0.5, 0.6]]])  # (M, C, N)
    mean, mean_entropy = members.mean(0), torch.stack([entropy(member) for member in members]).mean(0)
    third = (bits(0.4, 0.6) - (bits(0.2, 0.8) + bits(0.6, 0.4)) / 2) / log(2)
    torch.testing.assert_close(mutual_information(mean, mean_entropy), torch.tensor([[1.0, 0.0, third]]))


def test_classes():
    torch.testing.assert_close(classes_of(torch.tensor([[0.2, 0.3]]), 0.3), torch.tensor([0, 1], dtype=torch.uint8))
    several = torch.tensor([[0.5, 0.1], [0.2, 0.1], [0.3, 0.8]])
    torch.testing.assert_close(classes_of(several, 0.9), torch.tensor([0, 2], dtype=torch.uint8))


def test_dice_of_pairs():
    members = [np.array(classes) for classes in ([0, 1, 1, 0], [0, 1, 0, 0], [0, 1, 1, 2])]
    # structure 1: 2 / 3, 1 and 2 / 3; structure 2, in the last member alone: 0
    assert pairwise_dice(members) == pytest.approx(np.mean([2 / 3, (1 + 0) / 2, (2 / 3 + 0) / 2]))
    assert pairwise_dice([np.zeros(3)] * 2) == 1
    assert np.isnan(pairwise_dice(members[:1]))


def test_the_region_is_a_voxel_wider_than_the_mask_or_around_its_likeliest_voxel():
    probability = torch.zeros(1, 7, 7, 5)
    probability[0, 2:4, 3, 2] = 0.6
    region = doubtful_region(probability)
    expected = np.zeros((7, 7, 5), bool)
    expected[1:5, 2:5, 1:4] = True
    np.testing.assert_array_equal(region, expected)
    probability[0, 5, 5, 0] = 0.7
    region = doubtful_region(torch.cat([1 - probability, probability / 3, probability * 2 / 3]) * 0.4 + 0.2)
    assert region.sum() == 3 * 3 * 2  # at the edge
    assert region[5, 5, 0]
