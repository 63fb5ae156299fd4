import warnings

import numpy as np
import pytest
from transeg.metrics.surface import average_distance, hausdorff95


def test_by_hand():
    s, y = np.zeros((12, 12)), np.zeros((12, 12))
    s[2, 2] = y[2, 2] = s[5, 6] = 1  # the second voxel lies 5 from the label
    assert hausdorff95(s, y) == pytest.approx(0.95 * 5)  # of the distances 0 and 5, linear between
    assert hausdorff95(y, s) == hausdorff95(s, y)
    assert hausdorff95(s, y, spacing=(2.0, 1.5)) == pytest.approx(0.95 * np.hypot(6, 6))
    assert hausdorff95(s, s) == 0


def test_three_dimensions():
    s, y = np.zeros((5, 6, 7)), np.zeros((5, 6, 7))
    s[1, 1, 1], y[1, 1, 4] = 1, 1
    assert hausdorff95(s, y, spacing=(1, 1, 3)) == pytest.approx(9)


def test_no_warning_of_libraries_reaches_the_user():
    mask = np.zeros((5, 6, 7))
    mask[1:3, 1:3, 1:3] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hausdorff95(mask, mask) == average_distance(mask, mask, surface=True) == 0


def test_empty_masks():
    s = np.zeros((3, 4))
    assert hausdorff95(s, s) == 0
    assert hausdorff95(s, s + 1) == 5
    assert hausdorff95(s + 1, s, spacing=2) == 10
    with pytest.raises(ValueError, match="shape"):
        hausdorff95(s, s.T)


def two_masks():
    """One pixel, and a label of that pixel and two more that are 3 and 5 away."""
    s, y = np.zeros((8, 8)), np.zeros((8, 8))
    s[1, 1] = y[1, 1] = y[4, 1] = y[4, 5] = 1
    return s, y


def test_average_distance_is_the_larger_direction():
    s, y = two_masks()
    assert average_distance(s, y) == pytest.approx((0 + 3 + 5) / 3)  # the other direction is 0
    assert average_distance(y, s) == average_distance(s, y)
    assert average_distance(s, y, spacing=(2, 0.5)) == pytest.approx((0 + 6 + np.hypot(6, 2)) / 3)
    assert average_distance(s, y, surface=True) == pytest.approx((0 + 0 + 3 + 5) / 4)  # over both surfaces


def test_average_distance_counts_overlap_as_nothing():
    s, y = np.zeros((9, 9)), np.zeros((9, 9))
    y[2:7, 2:7] = 1
    s[2:7, 2:8] = 1  # a column more
    assert average_distance(s, y) == pytest.approx(5 / 30)
    assert average_distance(s, s) == average_distance(s, s, surface=True) == 0


def test_average_distance_of_empty_masks():
    s = np.zeros((3, 4))
    for surface in (False, True):
        assert average_distance(s, s, surface=surface) == 0
        assert average_distance(s, s + 1, surface=surface) == 5
        assert average_distance(s + 1, s, spacing=2, surface=surface) == 10
    with pytest.raises(ValueError, match="shape"):
        average_distance(s, s.T)
