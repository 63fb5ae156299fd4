"""Threshold and least area by which slices show the lesion."""

import numpy as np
import pytest
from transeg.errors import DataError
from transeg.metrics.presence import areas_above, best_operating_point


def test_areas_by_hand():
    volume = np.zeros((2, 2, 2))
    volume[..., 0] = [[0.1, 0.3], [0.5, 0.7]]
    assert areas_above(volume, [0.0, 0.3, 0.6], pixel=2.0).tolist() == [[8, 0], [4, 0], [2, 0]]


def test_the_point_that_tells_the_slices_best_by_hand():
    # by 0.5 alone all slices are marked; above 0.5, more than 3 pixels tell the two with the lesion from the others
    areas = np.array([[9, 8, 9, 9], [5, 4, 3, 2], [1, 0, 1, 0]])
    found = best_operating_point(areas, np.array([True, True, False, False]), [0.2, 0.5, 0.8])
    assert found == (0.5, 3.0, 1.0)


def test_blobs_among_specks_are_found_by_their_area():
    rng = np.random.default_rng(0)
    volume, present = 0.6 * rng.random((32, 32, 40)), np.arange(40) % 3 == 0
    volume[4:14, 4:14, present] = 0.58  # no higher than the noise, but wide
    threshold, least, accuracy = best_operating_point(areas_above(volume), present)
    marked = (volume > threshold).sum((0, 1)) > least
    assert accuracy == 1
    assert np.array_equal(marked, present)


@pytest.mark.parametrize("kind", [True, False])
def test_slices_of_one_kind_choose_nothing(kind):
    with pytest.raises(DataError, match="requires some that show the lesion and some that do not"):
        best_operating_point(np.ones((1, 3)), np.full(3, kind), [0.5])
