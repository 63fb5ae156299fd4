"""What the choice of an epoch loses, from the table of its criteria."""

import pytest
import torch

from benchmarks.epochs import compare, soft_dice, with_contrast


def epoch(number, cycle, distance, agreement, score, phase=1):
    alarms = {"change": 1.0, "variety": 1.0}
    criteria = {"cycle": cycle, "distance": distance, "agreement": agreement}
    return {"epoch": number, "phase": phase, **alarms, **criteria, "score": score}


def test_correlation_and_loss_of_each_choice():
    earlier = epoch(1, 0, 0, 0, 0.9)  # of a phase that is over
    run = [earlier, epoch(2, 3, 2, 1, 0.5, 2), epoch(3, 2, 1, 2, 0.7, 2), epoch(4, 1, 3, 3, 0.6, 2)]
    found = compare([run])
    correlation, lost = found["correlation with the score"], found["score lost"]
    assert correlation["cycle"]["mean"] == 0.5  # ranks 3, 2, 1 and 3, 1, 2
    assert correlation["epoch"]["mean"] == 0.5
    assert correlation["agreement"]["mean"] == -0.5
    assert (lost["last"]["mean"], lost["cycle"]["mean"], lost["distance"]["mean"]) == (0.1, 0.1, 0)
    assert lost["agreement"]["runs"] == [0.2]
    assert lost["recommended"]["mean"] == lost["cycle, distance"]["mean"] == 0
    assert (found["recommended epoch"], found["best epoch"]) == ([3], [3])


def test_soft_dice_leaves_out_the_background_of_several_classes():
    first = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 0.0, 1.0]]])
    second = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]])
    assert soft_dice(first, second) == pytest.approx((2 * 1 + 1) / (1 + 2 + 1))
    assert soft_dice(first[1:], first[1:]) == 1


def test_contrast_keeps_the_ends():
    torch.testing.assert_close(with_contrast(torch.tensor([-1.0, 0, 1])), torch.tensor([-1.0, 2 * 0.5**1.2 - 1, 1]))
