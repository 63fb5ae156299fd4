"""Every format gives the same voxels at the same places, and what cannot be read is refused by name."""

import logging
import re

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from scipy.spatial.transform import Rotation
from transeg.errors import VolumeError
from transeg.transforms.read import open_volume, read_volume

from tests.dicom_series import write_series

OBLIQUE = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix()


@pytest.fixture
def scan():
    """A CT of 7 x 6 x 5 voxels on an oblique grid."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-1024, 2000, (5, 6, 7)).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.3, 45.6, 78.9))
    image.SetDirection(OBLIQUE.ravel().tolist())
    return image


def voxels(image):
    return sitk.GetArrayFromImage(image).T.astype(np.float32)


def test_all_formats_agree(scan, tmp_path):
    places = [tmp_path / f"scan{suffix}" for suffix in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")]
    for path in places:
        sitk.WriteImage(scan, str(path))
    expected = nib.load(places[0])
    for reference in [*places, write_series(scan, tmp_path / "series")]:
        volume = read_volume(reference)
        assert volume.dtype.is_floating_point
        np.testing.assert_array_equal(volume.numpy()[0], voxels(scan), err_msg=str(reference))
        np.testing.assert_array_equal(volume.numpy()[0], expected.get_fdata(dtype=np.float32))
        np.testing.assert_allclose(volume.affine.numpy(), expected.affine, atol=1e-4)
        np.testing.assert_array_equal(volume.meta["original_affine"], volume.affine)
        assert volume.meta["filename_or_obj"] == str(reference)
        header = open_volume(reference)
        assert (header.shape, header.channels) == ((7, 6, 5), 1)


def test_rescaled_integers_are_read_in_double_precision(tmp_path):
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    image.header.set_slope_inter(0.1, -3.3)
    nib.save(image, tmp_path / "a.nii")
    stored = nib.load(tmp_path / "a.nii")
    slope, inter = stored.dataobj.slope, stored.dataobj.inter
    expected = (stored.dataobj.get_unscaled() * slope + inter).astype(np.float32)
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii")[0].numpy(), expected)


def test_components_and_fourth_axes_are_channels(tmp_path):
    data = np.random.default_rng(0).uniform(size=(4, 5, 6, 7)).astype(np.float32)  # Z Y X C
    vector = sitk.GetImageFromArray(data, isVector=True)
    series = sitk.GetImageFromArray(np.moveaxis(data, 3, 0), isVector=False)
    sitk.WriteImage(vector, str(tmp_path / "vector.nrrd"))
    sitk.WriteImage(vector, str(tmp_path / "vector.nii.gz"))  # 5D, with a fourth axis of 1
    sitk.WriteImage(series, str(tmp_path / "series.mha"))
    sitk.WriteImage(series, str(tmp_path / "series.nii.gz"))
    for name in ("vector.nrrd", "vector.nii.gz", "series.mha", "series.nii.gz"):
        volume = read_volume(tmp_path / name)
        np.testing.assert_array_equal(volume.numpy(), data.transpose(3, 2, 1, 0), err_msg=name)
        single = read_volume(f"{tmp_path / name}#5")
        np.testing.assert_array_equal(single.numpy(), data.transpose(3, 2, 1, 0)[5:6], err_msg=name)
        assert single.meta["filename_or_obj"].endswith(f"{name}#5")
        with pytest.raises(VolumeError, match=f"{name}#7: no channel 7; it has 7, counted from 0"):
            open_volume(f"{tmp_path / name}#7")


def test_upper_case_suffixes(scan, tmp_path):
    for suffix in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"):
        sitk.WriteImage(scan, str(tmp_path / f"a{suffix}"))
        upper = (tmp_path / f"a{suffix}").rename(tmp_path / f"B{suffix.upper()}")
        np.testing.assert_array_equal(read_volume(upper).numpy()[0], voxels(scan))


def slices(folder, count=12, size=(6, 4), channels=None, dtype=np.uint8, suffix=".tif"):
    shape = (count, *size, *([channels] if channels else []))
    data = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    for number, plane in enumerate(data):
        Image.fromarray(plane).save(folder / f"P1_{number + 1}{suffix}")
        Image.fromarray(plane).save(folder / f"P1_{number + 1}_mask{suffix}")
    return data


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint8, ".tif"), (np.uint16, ".png"), (np.float32, ".TIF")])
def test_numbered_slices_form_a_volume(tmp_path, dtype, suffix):
    data = slices(tmp_path, dtype=dtype, suffix=suffix)
    volume = read_volume(tmp_path / f"P1_*{suffix}", spacing=[1.9, 1.8, 5])
    assert volume.shape == (1, 4, 6, 12)
    np.testing.assert_array_equal(volume.numpy()[0], data.transpose(2, 1, 0))
    np.testing.assert_array_equal(volume.affine.numpy(), np.diag([-1.9, -1.8, 5, 1]))


def test_colours_of_slices_are_channels(tmp_path, caplog):
    data = slices(tmp_path, channels=3)
    volume = read_volume(tmp_path / "P1_*.tif")
    np.testing.assert_array_equal(volume.numpy(), data.transpose(3, 2, 1, 0))
    np.testing.assert_array_equal(volume.affine.numpy(), np.diag([-1, -1, 1, 1]))
    assert "1 mm assumed" in caplog.text
    second = read_volume(f"{tmp_path}/P1_*.tif#1", spacing=(1, 1, 1))
    np.testing.assert_array_equal(second.numpy(), volume.numpy()[1:2])


def test_pages_of_one_file_are_slices(tmp_path):
    data = np.random.default_rng(0).integers(0, 255, (5, 6, 4)).astype(np.uint8)
    first, *others = map(Image.fromarray, data)
    first.save(tmp_path / "stack.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read_volume(tmp_path / "stack.tif", (1, 1, 1))[0].numpy(), data.transpose(2, 1, 0))


def test_slices_that_form_no_volume(tmp_path):
    slices(tmp_path)
    Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / "P1_4.tif")
    with pytest.raises(VolumeError, match=r"P1_4.tif: 5 x 6 pixels of kind L, but P1_1.tif is 4 x 6"):
        read_volume(tmp_path / "P1_*.tif")
    (tmp_path / "P1_4.tif").write_bytes((tmp_path / "P1_5.tif").read_bytes()[:60])
    with pytest.raises(VolumeError, match=r"P1_4.tif: cannot be read"):
        read_volume(tmp_path / "P1_*.tif")
    Image.fromarray(np.zeros((6, 5, 4), np.uint8)).save(tmp_path / "alpha.png")
    (tmp_path / "P1_4.tif").unlink()
    with pytest.raises(VolumeError, match=r"P1_\*.tif: slices are missing between P1_3.tif and P1_5.tif"):
        read_volume(tmp_path / "P1_*.tif")
    with pytest.raises(VolumeError, match=r"alpha.png: pixels of kind RGBA; convert"):
        read_volume(tmp_path / "alpha.png")
    with pytest.raises(VolumeError, match=r"P2_\*.tif: no such file"):
        read_volume(tmp_path / "P2_*.tif")


def test_two_affines_of_a_header(tmp_path, caplog):
    affine = np.diag([2.0, 2, 3, 1])
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), None)
    image.set_sform(affine, 1)
    image.set_qform(affine + np.eye(4, k=3) * 0.05, 2)
    nib.save(image, tmp_path / "near.nii")
    image.set_qform(affine + np.eye(4, k=3) * 7, 2)
    nib.save(image, tmp_path / "far.nii")
    read_volume(tmp_path / "near.nii")
    assert not caplog.records
    volume = read_volume(tmp_path / "far.nii")
    assert re.search("far.nii: sform and qform differ by 7 mm; the sform is used", caplog.text)
    np.testing.assert_array_equal(volume.affine.numpy(), affine)
    np.testing.assert_allclose(volume.meta["qform"], image.get_qform())
    assert (volume.meta["sform_code"], volume.meta["qform_code"]) == (1, 2)


@pytest.mark.parametrize("size", [0, np.nan, np.inf])
def test_no_voxel_size(tmp_path, size, caplog):
    caplog.set_level(logging.CRITICAL)  # nibabel reports its repair
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    image.header["pixdim"][2] = size
    path = tmp_path / "a.nii.gz"
    nib.save(image, path)
    with pytest.raises(VolumeError, match=r"a.nii.gz: voxel size \(pixdim\) is 1, (0|nan|inf), 1; correct the header"):
        open_volume(path)


def test_other_units_than_millimetres(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(VolumeError, match="its unit is micron; convert"):
        open_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_truncated_files(scan, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(scan, str(path), useCompression=suffix == ".nrrd")
    content = path.read_bytes()
    for keep in (0, 100, len(content) // 2, len(content) - 20):
        path.write_bytes(content[:keep])
        with pytest.raises(VolumeError, match=f"{path}: cannot be read .truncated or not a"):
            read_volume(path)


def test_a_header_without_its_voxels(scan, tmp_path):
    sitk.WriteImage(scan, str(tmp_path / "a.mhd"))
    (tmp_path / "a.raw").unlink()
    with pytest.raises(VolumeError, match=r"a.mhd: cannot be read .truncated or not a MHD file"):
        read_volume(tmp_path / "a.mhd")


def test_not_three_dimensional(tmp_path):
    sitk.WriteImage(sitk.Image(5, 4, sitk.sitkInt16), str(tmp_path / "a.nrrd"))
    with pytest.raises(VolumeError, match=r"a.nrrd: 2D image \(5, 4\), but a 3D volume is needed"):
        open_volume(tmp_path / "a.nrrd")
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3, 2, 2), np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(VolumeError, match="5D image"):
        open_volume(tmp_path / "a.nii")
    sitk.WriteImage(sitk.Image([3, 3, 3], sitk.sitkComplexFloat32), str(tmp_path / "a.nrrd"))
    with pytest.raises(VolumeError, match="complex voxels are not supported"):
        open_volume(tmp_path / "a.nrrd")


def test_one_file_of_a_series(scan, tmp_path):
    folder = write_series(scan, tmp_path / "series", suffix="")
    with pytest.raises(VolumeError, match=r"0000: a single DICOM file; give the folder"):
        open_volume(folder / "0000")


def test_one_slice_and_small_voxels(tmp_path):
    affine = np.diag([1e-4, 1e-4, 1e-4, 1])  # of a microscope
    nib.save(nib.Nifti1Image(np.ones((3, 4, 1), np.float32), affine), tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").shape == (1, 3, 4, 1)
