"""Legs of other size, place and side are brought together, and nobody's own annotation comes back."""

import numpy as np
import pytest
from transeg.methods.thigh.classical.shape_prior import (
    crop_legs,
    load_atlas,
    register,
    save_atlas,
    scan_shape_map,
    shape_map,
)
from transeg.methods.thigh.legs import split_legs
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import silhouette

from tests.methods.thigh.classical.thighs import thighs

SPACING = (4.0, 4.0, 7.0)


def legs_of(subject, shape=(88, 52, 4), **options):
    image, muscle = thighs(shape, **options)
    body = silhouette(image)
    return crop_legs(subject, body, split_legs(body, SPACING), SPACING, muscle, image), muscle


def test_maps_leave_the_subject_out():
    own, muscle = legs_of("a", seed=1)
    other, _ = legs_of("b", (100, 58, 4), seed=2)
    third, _ = legs_of("c", seed=3, gap=0.01)
    atlas = [*own, *other, *third]
    assert [leg.mirrored for leg in own] == [False, True]
    found = scan_shape_map(muscle.shape, own, atlas)
    assert found.dtype == np.float32
    assert found.max() <= 1
    assert dice(found > 0.5, muscle) > 0.92
    without = [leg for leg in atlas if leg.subject != "a"]
    assert (found == scan_shape_map(muscle.shape, own, without)).all()  # and the same each time
    with pytest.raises(ValueError, match="another subject"):
        shape_map(own[0], own)


def test_registration_beats_none_and_keeps_slices():
    fixed, moving = legs_of("a", seed=1)[0][0], legs_of("b", (110, 64, 4), seed=2)[0][1]
    for by in ("silhouette", "intensity"):
        matrix = np.array(register(fixed, moving, by).GetParameters()[:9]).reshape(3, 3)
        assert matrix[2] == pytest.approx([0, 0, 1])
        assert 1.05 < matrix[0, 0] < 1.5  # from the smaller leg to the larger one
        assert dice(shape_map(fixed, [moving], by) > 0.5, fixed.muscle) > 0.9


def test_spline_and_single_slice():
    fixed, moving = legs_of("a", (88, 52, 1), seed=1)[0][0], legs_of("b", (88, 52, 1), seed=2)[0][1]
    assert dice(shape_map(fixed, [moving], bspline=True) > 0.5, fixed.muscle) > 0.9
    with pytest.raises(ValueError, match="single slice"):
        register(fixed, legs_of("b", seed=2)[0][0])


def test_atlas_file(tmp_path):
    legs, muscle = legs_of("a", seed=1)
    other, _ = legs_of("b", seed=2)
    save_atlas(tmp_path / "atlas.npz", legs)
    read = load_atlas(tmp_path / "atlas.npz")
    assert [leg.subject for leg in read] == ["a", "a"]
    assert (scan_shape_map(muscle.shape, other, read) == scan_shape_map(muscle.shape, other, legs)).all()
    with pytest.raises(ValueError, match="requires the images of the legs"):
        shape_map(other[0], read, by="intensity")
