import math

import numpy as np
import pytest
from transeg.metrics.seams import seam_score


def test_steps_by_hand():
    volume = np.array([0.0, 1.0, 2.0, 5.0, 6.0])[:, None] * np.ones((1, 2))
    # across the edge 3 and 3; elsewhere three times 1 and 1 along X, five times 0 along Y
    assert seam_score(volume, [[3], []]) == pytest.approx(3 / (6 / 11))
    assert seam_score(volume, [[1], []]) == pytest.approx(1 / (10 / 11))


def test_no_edge_has_no_score_and_edges_outside_are_refused():
    assert math.isnan(seam_score(np.zeros((4, 4)), [[], []]))
    for wrong in ([[4], []], [[0], []], [[1]]):
        with pytest.raises(ValueError, match="not within"):
            seam_score(np.zeros((4, 4)), wrong)
