"""The inverse of a resampling equals MONAI's voxel by voxel, in little memory."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Spacingd
from scipy.spatial.transform import Rotation
from transeg.transforms import spacing
from transeg.transforms.spacing import ResampleVolumed


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
    theirs, ours = Spacingd("image", pixdim, mode=mode), ResampleVolumed("image", pixdim, mode=mode)
    there = {"image": volume(shape, sizes)}
    expected, found = theirs.inverse(theirs(there))["image"], ours.inverse(ours(there))["image"]
    torch.testing.assert_close(found.as_tensor(), expected.as_tensor(), rtol=0, atol=0)
    torch.testing.assert_close(found.affine, volume(shape, sizes).affine, rtol=0, atol=1e-12)
    assert found.applied_operations == []


def test_other_keys_stay_as_they_are():
    resample = ResampleVolumed("image", (2, 2, 2))
    item = resample({"image": volume((6, 6, 6), 1), "image_path": "/in/a.nii.gz"})
    assert resample.inverse(item)["image_path"] == "/in/a.nii.gz"
