"""A crop is decided by the anatomy, not by the rounding of an affine or by the format of the file."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data import MetaTensor
from transeg.errors import VolumeError
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing
from transeg.methods.cardiac.recipe import HEART
from transeg.transforms.centre import CUT, CentreForegroundd, CropAtCentred, reaches_border

from tests.dicom_series import write_series


@pytest.mark.parametrize("noise", [0, -1e-8, 1e-8, 1e-5, -1e-5])
def test_a_point_on_a_voxel_is_not_moved_by_noise(noise):
    affine = torch.diag(torch.tensor([5.0, 5, 5, 1], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-71.6582, -255.6582, 576.2])
    image = MetaTensor(torch.arange(20**3.0).reshape(1, 20, 20, 20), affine=affine)
    image.meta["point"] = (affine[:3, :3] @ torch.tensor([9.0, 10, 11], dtype=torch.float64) + affine[:3, 3]) + noise
    out = CropAtCentred("image", "image", (8, 6, 4), "point")({"image": image})["image"]
    torch.testing.assert_close(out.as_tensor(), image.as_tensor()[:, 6:14, 8:14, 10:14])


def test_between_voxels_the_point_is_within_half_a_voxel_of_the_centre():
    image = MetaTensor(torch.arange(20.0).reshape(1, 20, 1, 1).expand(1, 20, 20, 20), affine=torch.eye(4))
    for place in np.linspace(8, 10, 41):
        image.meta["point"] = torch.tensor([place, 10, 10])
        for size in (7, 8):
            out = CropAtCentred("image", "image", (size, 8, 8), "point")({"image": image})["image"][0, :, 0, 0]
            assert abs(float(out.mean()) - place) <= 0.5 + 2e-3


def test_a_point_outside():
    image = MetaTensor(torch.ones(1, 4, 4, 4), affine=torch.eye(4), meta={"point": torch.tensor([90.0, 0, 0])})
    with pytest.raises(VolumeError, match=r"nothing of the image lies around \(90, 0, 0\) mm"):
        CropAtCentred("image", "image", (2, 2, 2), "point")({"image": image})


def test_one_scan_in_three_formats_gives_one_crop(tmp_path):
    """With origins and spacings that no format holds exactly."""
    grid = np.indices((60, 56, 52)).astype(float)
    heart = sum((axis - middle) ** 2 for axis, middle in zip(grid, (31, 26, 24), strict=True)) < 15**2
    voxels = np.where(heart, 300, -60).astype(np.int16) + (grid[0] % 7).astype(np.int16)
    image = sitk.GetImageFromArray(voxels.T.copy())
    image.SetSpacing((2.47, 2.53, 2.61))
    image.SetOrigin((-71.658203125, -255.658203125, 576.2000122070312))
    sitk.WriteImage(image, str(tmp_path / "ct_a.nrrd"))
    sitk.WriteImage(image, str(tmp_path / "ct_a.nii.gz"))
    write_series(image, tmp_path / "ct_series")
    pre = cardiac_preprocessing(HEART | {"pixdim": 5.0, "image_size": (20, 20, 16)}, modality="ct")
    first, *others = (pre({"image": tmp_path / name})["image"] for name in ("ct_a.nii.gz", "ct_a.nrrd", "ct_series"))
    assert nib.affines.voxel_sizes(first.affine.numpy()).tolist() == pytest.approx([5, 5, 5])
    for other in others:
        torch.testing.assert_close(other.affine, first.affine, rtol=0, atol=1e-4)
        torch.testing.assert_close(other.as_tensor(), first.as_tensor(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(("size", "cut"), [((6, 4), False), ((5, 4), True), ((6, 3), True)])
def test_a_foreground_larger_than_the_crop_is_recorded(size, cut):
    volume = torch.zeros(1, 12, 12, 3)
    volume[:, 2:8, 5:9] = 1
    item = {"image": MetaTensor(volume), "mask": MetaTensor(volume)}
    crop = CentreForegroundd(("image", "mask"), "mask", size, select_fn=lambda mask: mask > 0, name="body")
    cropped = crop(item)
    assert cropped["image"].meta[CUT] is cut
    assert crop.inverse(cropped)["image"].shape == volume.shape


def test_structures_at_an_end_of_the_volume():
    mask = np.zeros((4, 5, 6), bool)
    mask[1:3, 2, 5] = True
    assert reaches_border(mask)
    assert not reaches_border(mask, axes=(0, 1))
    mask[0, 2, 2] = True
    assert reaches_border(mask, axes=(0, 1))
