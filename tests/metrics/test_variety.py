"""How varied lesions are: places relative to the body, volumes, and shapes whatever their size."""

import numpy as np
import pytest
from transeg.metrics.variety import Lesion, count_shapes, lesion_of, variety

AXES = np.stack(np.meshgrid(*[np.arange(40.0)] * 3, indexing="ij"))
BODY = np.ones((40, 40, 40), bool)


def ellipsoid(centre, radii):
    return (((AXES - np.reshape(centre, (3, 1, 1, 1))) / np.reshape(radii, (3, 1, 1, 1))) ** 2).sum(axis=0) <= 1


def test_place_and_volume_are_in_mm_of_the_patient():
    affine = np.array([[0, -2.0, 0, 5], [1.0, 0, 0, 7], [0, 0, 3.0, -9], [0, 0, 0, 1]])
    found = lesion_of(ellipsoid((25, 12, 19.5), (4, 4, 4)), BODY, affine)
    np.testing.assert_allclose(found.place, [-2 * (12 - 19.5), 25 - 19.5, 0], atol=1e-6)
    assert found.ml == pytest.approx(4 / 3 * np.pi * 4**3 * 6 / 1000, rel=0.05)


def test_the_spread_is_that_of_the_places():
    shape = np.ones((2, 2, 2), bool)
    lesions = [Lesion(np.array([x, 0.0, 0.0]), ml, shape) for x, ml in ((-3, 1.0), (3, 4.0), (-3, 2.0), (3, 9.0))]
    found = variety(lesions)
    assert found.spread_mm == pytest.approx(3)
    assert (found.cases, found.smallest_ml, found.median_ml, found.largest_ml, found.shapes) == (4, 1, 3, 9, 1)
    assert variety(lesions[:1]).spread_mm == 0


def test_size_place_and_voxels_do_not_make_another_shape_but_form_and_direction_do():
    def shape(mask, sizes=(1, 1, 1)):
        return lesion_of(mask, BODY, np.diag([*sizes, 1.0])).shape

    ball = shape(ellipsoid((20, 20, 20), (6, 6, 6)))
    same = [
        shape(ellipsoid((12, 22, 25), (9, 9, 9))),
        shape(ellipsoid((20, 20, 20), (9, 9, 3)), (1, 1, 3)),  # thick slices
        shape(ellipsoid((20, 20, 20), (6, 6, 6)), (-2, 2, 2)),
    ]
    assert count_shapes([ball, *same]) == 1
    long = [shape(ellipsoid((20, 20, 20), radii)) for radii in ((12, 4, 4), (4, 12, 4), (4, 4, 12))]
    assert count_shapes([ball, *long, *same]) == 4
    assert all(0.8 < part.sum() / ball.sum() < 1.2 for part in (*same, *long))
