"""Voxels that have no value, no meaning, or another unit are found."""

import re

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from transeg.errors import VolumeError
from transeg.transforms.checks import CheckHounsfieldd, check_hounsfield, check_labels, fill_outside


def sphere(radius=6, size=20):
    grid = np.indices((size,) * 3) - size // 2
    return (grid**2).sum(0) < radius**2


def test_nan_around_the_brain_becomes_zero(caplog):
    brain = np.random.default_rng(0).normal(0, 1, (2, 20, 20, 20)).astype(np.float32)
    brain[:, ~sphere()] = np.nan
    filled = fill_outside(brain, "a.nii.gz")
    assert np.isnan(brain).any(), "the input is not changed"
    np.testing.assert_array_equal(filled, np.where(sphere(), brain, 0))
    assert f"a.nii.gz: {(~sphere()).sum()} NaN voxels at the border, replaced by 0" in caplog.text


def test_nan_around_a_ct_becomes_air():
    ct = np.full((1, 20, 20, 20), -1024, np.float32)
    ct[0, sphere()] = 40
    ct[0, :, :, :3] = np.nan
    assert (fill_outside(ct, "a")[0, :, :, :3] == -1024).all()


def test_nan_inside(caplog):
    brain = np.ones((1, 20, 20, 20), np.float32)
    brain[0, ~sphere()] = np.nan
    brain[0, 10, 10, 9:11] = np.nan
    with pytest.raises(VolumeError, match=r"a.nii.gz: 2 NaN or infinite voxels inside the volume; replace"):
        fill_outside(brain, "a.nii.gz")
    brain[0, 10, 10, 9:11] = 1
    brain[0, 0, 0, 0] = np.inf
    with pytest.raises(VolumeError, match="1 NaN or infinite"):
        fill_outside(brain, "a.nii.gz")
    with pytest.raises(VolumeError, match="8000 NaN or infinite voxels only"):
        fill_outside(np.full((1, 20, 20, 20), np.nan, np.float32), "a.nii.gz")


def test_finite_volumes_are_not_copied():
    volume = np.ones((1, 3, 3, 3), np.float32)
    assert fill_outside(volume, "a") is volume


def test_labels_are_mapped_to_classes():
    values = np.array([0, 205, 420, 421.0001, 820, 3], np.float32).reshape(1, 6, 1, 1)
    found = check_labels(values, {0: 0, 205: 1, 420: 2, 421: 2, 820: 0, 1: 1, 3: 3}, "a")
    assert found.ravel().tolist() == [0, 1, 2, 2, 0, 3]
    assert check_labels(values, [0, 205, 420, 421, 820, 3], "a").ravel().tolist() == [0, 205, 420, 421, 820, 3]


def test_classes_are_not_mapped_twice():
    assert check_labels(np.array([1, 2, 3], np.float32), {1: 2, 2: 3, 3: 1}, "a").tolist() == [2, 3, 1]


def test_unknown_labels_are_counted():
    values = np.array([0, 1, 430, 430, 7], np.float32)
    message = re.escape("a.nii: 2 unknown label value(s): 7 (1 voxel), 430 (2 voxels); allowed are [0, 1]")
    with pytest.raises(VolumeError, match=f"{message}.*--labels.*--labels background"):
        check_labels(values, (1, 0), "a.nii")
    with pytest.raises(VolumeError, match=r"15 unknown .* and 5 more; allowed"):
        check_labels(np.arange(16, dtype=np.float32), (0,), "a.nii")


def test_a_probability_map_is_no_mask():
    with pytest.raises(VolumeError, match=r"a.nii: no mask: it has values such as 0.25; a mask has whole numbers"):
        check_labels(np.array([0, 0.25, 1, 7], np.float32), (0, 1), "a.nii")


def ct(offset, air=True):
    rng = np.random.default_rng(0)
    volume = np.where(sphere(9), 50, -1000 if air else 20) + rng.normal(0, 15, (20, 20, 20))
    volume[8:10, 8:12, 8:12] = 900
    return MetaTensor(
        torch.from_numpy((volume + offset).clip(0 if offset else -1024))[None].float(),
        meta={"filename_or_obj": "ct.nii"},
    )


def test_shifted_ct():
    for air in (True, False):
        check_hounsfield(ct(0, air))
        with pytest.raises(VolumeError, match=r"ct.nii: CT stored with an offset of 1024 .*subtract 1024"):
            check_hounsfield(ct(1024, air))
    padded = ct(1024)
    padded[:, :3] = -2000
    with pytest.raises(VolumeError, match="offset of 1024"):
        check_hounsfield(padded)
    clipped = ct(0)
    check_hounsfield(clipped.clamp(0, 400))  # a window of HU


@pytest.mark.parametrize(("window", "told"), [((-100, 800), True), ((0, 2000), False), (None, False)])
def test_a_window_below_zero_means_hounsfield_units(window, told):
    check, item = CheckHounsfieldd("image", window), {"image": ct(1024)}
    if told:
        with pytest.raises(VolumeError, match="offset of 1024"):
            check(item)
        item = {"image": ct(0)}
    assert check(item) == item
