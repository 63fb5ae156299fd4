"""Legs apart, touching or alone; volumes by hand; fat fractions against what the phantom holds."""

import numpy as np
import pytest
from transeg.methods.thigh.legs import measure_legs, share_under_skin, split_legs
from transeg.metrics.silhouette import silhouette

from data_prep.phantoms import thigh_phantom

SPACING = (2.0, 2.0, 7.0)


def discs(*middles, radius=20.0, shape=(120, 60, 4)):
    x, y, _ = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.any([np.hypot(x - m, y - 30) < radius for m in middles], axis=0)


def turned(phantom):
    """Image, mask and fat in RAS."""
    return (volume[::-1, ::-1] for volume in (phantom.image, phantom.mask, phantom.fat))


@pytest.mark.parametrize("middles", [(30, 90), (40, 78), (30, 66)])
def test_two_legs(middles):
    legs = split_legs(discs(*middles))
    assert list(legs) == ["left", "right"]
    left, right = (discs(m) for m in middles)
    assert abs((left & legs["left"]).sum() / left.sum() - 1) < 0.06, "low X is left"
    assert abs((right & legs["right"]).sum() / right.sum() - 1) < 0.06
    assert (legs["left"] ^ legs["right"]).all()


def test_one_leg_and_unequal_voxels():
    assert list(split_legs(discs(60))) == ["leg"]
    assert list(split_legs(discs(60), (2.0, 1.0, 7.0))) == ["left", "right"], "twice as wide as deep"
    with pytest.raises(ValueError, match="no body"):
        split_legs(np.zeros((5, 5, 2)))


def test_volume_and_fraction_by_hand():
    body = discs(30, 90)
    image = np.where(body, 300.0, 0.0)
    mask = discs(30, radius=10) | discs(90, radius=12)
    image[mask] = 100.0
    image[80:90][mask[80:90]] = 300.0
    left, right = measure_legs(image, mask, body, SPACING)
    assert (left.leg, right.leg) == ("left", "right")
    assert left.muscle_ml == pytest.approx(discs(30, radius=10).sum() * 0.028)
    assert left.fat_fraction == pytest.approx(0, abs=0.01)
    replaced = mask[80:90].sum() / discs(90, radius=12).sum()
    assert right.fat_fraction == pytest.approx(replaced, abs=0.01)
    assert (right.muscle_peak, right.fat_peak) == pytest.approx((100, 300), abs=2)
    empty = measure_legs(image, np.zeros_like(mask), body, SPACING)
    assert [row.muscle_ml for row in empty] == [0, 0]
    assert all(np.isnan(row.fat_fraction) for row in empty)


@pytest.mark.parametrize(("grade", "tolerance"), [("healthy", 0.03), ("moderate", 0.05), ("severe", 0.11)])
def test_fat_fraction_of_phantoms(grade, tolerance):
    for case in range(3):
        image, mask, fat = turned(thigh_phantom((0, case), grade=grade))
        body = silhouette(image)
        legs = split_legs(body, SPACING)
        for row in measure_legs(image, mask, body, SPACING):
            known = fat[(mask > 0) & legs[row.leg]].mean()
            assert abs(row.fat_fraction - known) < tolerance
        assert share_under_skin(mask, body, SPACING) < 0.15


def test_fat_taken_for_muscle_lies_under_the_skin():
    body = discs(60)
    assert share_under_skin(body & ~discs(60, radius=13), body, 1.0) > 0.9
    assert share_under_skin(discs(60, radius=10), body, 1.0) == 0
