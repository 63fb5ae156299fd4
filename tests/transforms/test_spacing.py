"""The inverse of a resampling equals MONAI's voxel by voxel, in little memory."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd
from scipy.spatial.transform import Rotation
from transeg.transforms import spacing
from transeg.transforms.spacing import ResampleVolumed, nearest


def volume(shape, sizes, seed=0, channels=2):
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * sizes
    affine[:3, 3] = rng.normal(0, 50, 3)
    return MetaTensor(torch.from_numpy(rng.integers(0, 6, (channels, *shape))).float(), affine=torch.as_tensor(affine))


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize(
    ("shape", "sizes", "pixdim"),
    [
        ((20, 30, 11), (0.4, 0.4, 3), (5, 5, 5)),
        ((16, 12, 10), (2, 1, 1.5), (1, 1.5, -1)),
        ((9, 7, 1), (1, 1, 20), (1.5, 2, 1)),
        ((8, 8, 8), (1, 1, 1), (1, 1, 1)),
    ],
)
def test_inverse(monkeypatch, mode, shape, sizes, pixdim):
    monkeypatch.setattr(spacing, "SLAB", 700)
    resample = ResampleVolumed("image", pixdim, mode=mode)
    expected = Spacingd.inverse(resample, resample({"image": volume(shape, sizes)}))["image"]
    found = resample.inverse(resample({"image": volume(shape, sizes)}))["image"]
    rounding = 0 if mode == "nearest" else 1e-6
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), rtol=0, atol=rounding)
    torch.testing.assert_close(found.affine, volume(shape, sizes).affine, rtol=0, atol=1e-12)
    assert found.applied_operations == []


def test_other_keys_stay_as_they_are():
    resample = ResampleVolumed("image", (2, 2, 2))
    item = resample({"image": volume((6, 6, 6), 1), "image_path": "/in/a.nii.gz"})
    assert resample.inverse(item)["image_path"] == "/in/a.nii.gz"


def results(image, affines):
    resample = ResampleVolumed("image", (1.6, 1.6, 2.5))
    for affine in affines:
        found = resample({"image": MetaTensor(image.as_tensor(), affine=affine)})["image"]
        torch.testing.assert_close(resample.inverse({"image": found})["image"].affine, affine, rtol=0, atol=1e-12)
        yield found


@pytest.mark.parametrize("oblique", [True, False])
def test_the_new_grid_does_not_depend_on_rounding(oblique):
    image = volume((20, 18, 9), (0.7, 0.7, 3), channels=1)
    if not oblique:
        image.affine = torch.diag(torch.tensor([0.7, 0.7, 3, 1], dtype=torch.float64))
    noise = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-6, (4, 4))) * torch.tensor([[1], [1], [1], [0]])
    first, *others = results(image, [image.affine, image.affine.float().double(), image.affine + noise])
    for other in others:
        torch.testing.assert_close(other.affine, first.affine, rtol=0, atol=1e-4)
        torch.testing.assert_close(other.as_tensor(), first.as_tensor(), rtol=0, atol=1e-3)


def test_grids_of_straight_scans_are_those_of_monai():
    image = volume((20, 18, 9), (0.7, 0.7004, 3))
    image.affine = torch.diag(torch.tensor([0.7, 0.7004, 3, 1], dtype=torch.float64))
    for pixdim in ((1.6, 0.7, 2.5), (0.5, 0.5, -1)):
        found = ResampleVolumed("image", pixdim)({"image": image.clone()})["image"]
        expected = Spacingd("image", pixdim)({"image": image.clone()})["image"]
        torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), rtol=0, atol=0)
        torch.testing.assert_close(found.affine, expected.affine, rtol=0, atol=0)


def test_grids_of_oblique_scans_share_the_centre():
    image = volume((20, 18, 9), (0.7, 0.7, 3))
    found = ResampleVolumed("image", (1.6, 0.7, 2.5))({"image": image})["image"]
    assert found.pixdim.tolist() == pytest.approx([1.6, 0.7, 2.5])
    ends = [
        one.affine @ torch.tensor([*(length / 2 for length in one.shape[1:]), 1.0]).double() for one in (image, found)
    ]
    torch.testing.assert_close(*ends)


def test_nearest_by_hand_also_where_two_voxels_are_equally_near():
    volume = torch.arange(4.0).reshape(1, 4, 1, 1)
    to_voxel = np.diag([0.5, 1, 1, 1])
    exact = [0, 0, 1, 2, 2, 2, 3, 3]  # places 0, .5, 1, 1.5, ..., of two the even one; then the border
    assert nearest(volume, to_voxel, (8, 1, 1)).flatten().tolist() == exact
    for noise in (-1e-5, 1e-5):
        to_voxel[0, 3] = noise
        assert nearest(volume, to_voxel, (8, 1, 1)).flatten().tolist() == exact
