import math

import numpy as np
import pytest
import torch
from monai.metrics import compute_dice
from torch.nn.functional import one_hot
from transeg.methods.cardiac.regions import region_changes, region_dice

NAMES = ("Myo", "LA", "LV")


def test_dice_by_hand():
    prediction = np.array([[1, 1, 0, 2], [0, 0, 0, 0]])
    label = np.array([[1, 0, 0, 0], [1, 1, 0, 0]])
    scores = region_dice(prediction, label, NAMES)
    assert scores["Myo"] == pytest.approx(2 * 1 / (2 + 3))
    assert scores["LA"] == 0
    assert math.isnan(scores["LV"])


def test_it_is_what_monai_computes_during_an_evaluation():
    maps = torch.randint(4, (2, 1, 6, 5, 4), generator=torch.Generator().manual_seed(0))
    channels = [one_hot(m[0], 4).movedim(-1, 0)[None] for m in maps]
    theirs = compute_dice(*channels, include_background=False)[0].tolist()
    assert list(region_dice(*maps.numpy(), NAMES).values()) == pytest.approx(theirs)


def test_changes_by_hand():
    source, translation = np.zeros((2, 4, 3, 2), int)
    source[0, 0] = 1  # 2 voxels
    source[1] = 2  # 6
    translation[0] = 1  # 6, 2 of them the same
    myo, la, lv = region_changes(source, translation, NAMES, (1.0, 2.0, 5.0))
    assert myo[:4] == pytest.approx(("Myo", 0.02, 0.06, 0.04))
    assert myo.dice == pytest.approx(2 * 2 / 8)
    assert (la.translation_ml, la.change_ml, la.dice) == pytest.approx((0, -0.06, 0))
    assert lv.source_ml == 0
    assert math.isnan(lv.dice)


def test_classes_without_a_name_and_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"classes \[7\] have no name: expected 0 to 3 \(Myo"):
        region_dice(np.array([0, 7]), np.array([0, 1]), NAMES)
    with pytest.raises(ValueError, match="differ in shape"):
        region_changes(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)), NAMES)
