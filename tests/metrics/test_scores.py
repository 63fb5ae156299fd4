import math

import numpy as np
import pytest
from transeg.metrics.scores import score_mask


def masks(**boxes):
    """Masks of 4 x 5 x 6 voxels by name, each a box."""
    found = {}
    for name, box in boxes.items():
        found[name] = np.zeros((4, 5, 6), bool)
        found[name][box] = True
    return found


def test_values_by_hand():
    """A reference of 8 voxels in slices 1 and 2, a mask that misses slice 1 and goes on to slices 3 and 4."""
    found = masks(y=np.s_[:2, :2, 1:3], s=np.s_[:2, :2, 2:5])
    score = score_mask(found["s"], found["y"], (1.0, 2.0, 5.0))
    assert score.dice == pytest.approx(2 * 4 / (12 + 8))
    assert (score.ml, score.reference_ml) == (pytest.approx(0.12), pytest.approx(0.08))
    assert score.volume_error_ml == score.absolute_volume_error_ml == pytest.approx(0.04)
    assert score.detected == 1
    assert score.detection_rate == 1 / 2
    assert score.false_alarm_rate == 2 / 4  # of slices 0, 3, 4, 5
    # all voxels are of the surface: 4 of 8 are 5 mm from the mask; of 12, 4 are 5 and 4 are 10 mm from the reference
    assert score.avd_mm == pytest.approx(max(20 / 8, (20 + 40) / 12))
    assert score.assd_mm == pytest.approx((20 + 60) / (8 + 12))
    assert score.hd95_mm == pytest.approx(10)
    assert math.isnan(score.false_alarm_ml)


def test_the_axis_of_the_slices():
    found = masks(y=np.s_[1, :2, :2], s=np.s_[1:3, :2, 4])
    score = score_mask(found["s"], found["y"], (1, 1, 1), slices=0)
    assert (score.detection_rate, score.false_alarm_rate, score.detected, score.dice) == (1, 1 / 3, 0, 0)


def test_a_missed_structure_counts_with_the_diagonal():
    y = masks(y=np.s_[0, 0, :])["y"]
    missing, empty = (score_mask(mask, y, (3, 4, 0.5)) for mask in (None, np.zeros_like(y)))
    assert missing == pytest.approx(empty, nan_ok=True)
    assert missing.dice == missing.detected == missing.detection_rate == 0
    assert missing.hd95_mm == missing.assd_mm == missing.avd_mm == pytest.approx(np.hypot(np.hypot(12, 20), 3))
    assert missing.volume_error_ml == pytest.approx(-0.036)
    assert math.isnan(missing.false_alarm_rate)  # every slice shows it


def test_without_the_structure_only_false_alarms_are_scored():
    marked = masks(s=np.s_[:1, :1, :3])["s"]
    for mask, rate, ml in ((marked, 1 / 2, 0.006), (None, 0, 0)):
        score = score_mask(mask, np.zeros_like(marked), (1, 1, 2))
        assert (score.false_alarm_rate, score.false_alarm_ml) == (rate, pytest.approx(ml))
        assert all(math.isnan(value) for value in score[:8])


def test_shapes():
    with pytest.raises(ValueError, match=r"prediction \(2, 2, 3\) and reference \(2, 2, 2\)"):
        score_mask(np.zeros((2, 2, 3)), np.zeros((2, 2, 2)), (1, 1, 1))
