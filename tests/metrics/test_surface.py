import numpy as np
import pytest
from transeg.metrics import hausdorff95


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


def test_empty_masks():
    s = np.zeros((3, 4))
    assert hausdorff95(s, s) == 0
    assert hausdorff95(s, s + 1) == 5
    assert hausdorff95(s + 1, s, spacing=2) == 10
    with pytest.raises(ValueError, match="shape"):
        hausdorff95(s, s.T)
