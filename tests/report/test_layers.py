"""Volumes of a page."""

import base64
import zlib

import nibabel as nib
import numpy as np
import pytest
from transeg.errors import DataError
from transeg.report.layers import Grid

LPS = np.diag([-1.0, -2.0, 3.0, 1.0])


def test_a_layer_is_turned_to_ras_and_packed_with_x_fastest():
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    grid = Grid(LPS, volume.shape)
    assert grid.spacing == [1.0, 2.0, 3.0]
    layer = grid.layer("mask", "labels", volume)
    np.testing.assert_array_equal(layer.voxels, volume[::-1, ::-1])
    packed = layer.packed()
    data = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), np.uint8)
    assert data[0 + 2 * (1 + 3 * 2)] == layer.voxels[0, 1, 2]
    assert (packed["name"], packed["kind"]) == ("mask", "labels")


def test_axes_in_another_order_are_those_of_ras():
    affine = np.array([[0, 0, 2.0, 0], [1.0, 0, 0, 0], [0, 4.0, 0, 0], [0, 0, 0, 1]])  # of axes A, S, R
    volume = np.random.default_rng(0).integers(0, 9, (3, 4, 5)).astype(np.uint8)
    layer = Grid(affine, volume.shape).layer("mask", "labels", volume)
    np.testing.assert_array_equal(layer.voxels, nib.as_closest_canonical(nib.Nifti1Image(volume, affine)).get_fdata())
    assert Grid(affine, volume.shape).spacing == [2.0, 1.0, 4.0]


def test_images_are_levels_between_black_and_white():
    volume = np.array([-5.0, 0.0, 50.0, 100.0, np.nan]).reshape(5, 1, 1)
    layer = Grid(np.eye(4), volume.shape).layer("scan", "image", volume, (0.0, 100.0))
    assert layer.voxels.ravel().tolist() == [0, 0, 128, 255, 0]
    assert layer.window == (0.0, 100.0)
    likely = Grid(np.eye(4), volume.shape).layer("probability", "probability", volume / 100)
    assert likely.voxels.ravel().tolist() == [0, 0, 128, 255, 0]


def test_large_scans_are_thinned_along_their_finest_axes():
    grid = Grid(np.diag([1.0, 1.0, 4.0, 1.0]), (40, 40, 10), most=16_000 // 4)
    assert grid.steps == (2, 2, 1)
    assert grid.spacing == [2.0, 2.0, 4.0]
    noise = np.random.default_rng(0).normal(size=(40, 40, 10))
    image = grid.layer("scan", "image", noise, (-1.0, 1.0))
    assert image.voxels.shape == (20, 20, 10)
    assert image.voxels.std() < 0.6 * 128  # means of four
    labels = np.zeros((40, 40, 10), np.uint8)
    labels[9, 8, 7] = 3  # one voxel
    shown = grid.layer("mask", "labels", labels).voxels
    assert np.argwhere(shown).tolist() == [[4, 4, 7]]
    assert shown[4, 4, 7] == 3


def test_blocks_are_means_and_the_last_ones_are_filled_up():
    grid = Grid(np.diag([1.0, 4.0, 4.0, 1.0]), (5, 1, 1), most=3)
    volume = np.array([0.0, 1.0, 0.5, 0.5, 1.0]).reshape(5, 1, 1)
    layer = grid.layer("probability", "probability", volume)
    assert layer.voxels.ravel().tolist() == [128, 128, 255]
    assert (grid.steps, grid.voxels) == ((2, 1, 1), [5, 1, 1])


def test_the_angle_of_oblique_slices():
    assert Grid(LPS, (2, 2, 2)).oblique == 0
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    assert Grid(turned @ LPS, (2, 2, 2)).oblique == pytest.approx(np.degrees(0.5))


def test_a_volume_on_another_grid_is_refused():
    with pytest.raises(DataError, match=r"mask: its shape \(1, 2, 3\) is not that of the scan, \(2, 2, 3\)"):
        Grid(np.eye(4), (2, 2, 3)).layer("mask", "labels", np.zeros((1, 2, 3)))
