"""One regular series is read exactly, whatever its files look like; anything else is refused."""

import re

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from transeg.errors import VolumeError
from transeg.transforms.read import read_volume

from tests.dicom_series import write_series


@pytest.fixture
def scan():
    image = sitk.GetImageFromArray(np.random.default_rng(0).integers(-1024, 2000, (8, 6, 7)).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-12.3, 45.6, 78.9))
    return image


def voxels(image):
    return sitk.GetArrayFromImage(image).T.astype(np.float32)


def refused(folder, message):
    with pytest.raises(VolumeError, match=message) as error:
        read_volume(folder)
    assert str(folder) in str(error.value)


def test_tags_become_meta_data(scan, tmp_path):
    volume = read_volume(write_series(scan, tmp_path / "a", tags=lambda _: {"0008|0060": "MR"}))
    assert volume.meta["modality"] == "mr"
    assert volume.meta["series_description"] == "Chest"
    np.testing.assert_allclose(
        volume.affine.numpy(), [[-0.7, 0, 0, 12.3], [0, -0.8, 0, -45.6], [0, 0, 2.5, 78.9], [0, 0, 0, 1]]
    )


@pytest.mark.parametrize("compress", [None, "JPEG2000", "JPEG"])
def test_files_of_any_kind(scan, tmp_path, compress):
    scan = sitk.Expand(scan, (8, 8, 1), sitk.sitkNearestNeighbor)  # the compressor aborts on tiny slices
    folder = write_series(
        scan,
        tmp_path / "a",
        suffix="",
        compress=compress,
        tags=lambda number: {"0020|0013": str(99 - 7 * number), "0008|0018": f"1.2.{(5 * number) % 8 + 1}"},
    )
    for number in range(8):  # names in no order
        (folder / f"{number:04d}").rename(folder / f"IM{(3 * number) % 8}")
    (folder / "notes.txt").write_text("stray")
    (folder / "DICOMDIR").write_bytes(b"\0" * 200)
    (folder / ".hidden").write_bytes(b"")
    np.testing.assert_array_equal(read_volume(folder).numpy()[0], voxels(scan))


def change(file, old, new):
    """Replace bytes that occur once."""
    content = file.read_bytes()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, new))


def test_each_slice_has_its_own_rescale(scan, tmp_path):
    """As in PET: the first slice's integers must not cut off the fractions of the others."""
    folder = write_series(scan + 1024, tmp_path / "a", tags=lambda _: {"0028|1052": "0"})
    slope = b"\x28\x00\x53\x10"  # implicit value representation: tag, length, value
    for number in range(1, 8):
        value = f"{1 + number / 8:<6g}".encode()
        change(folder / f"{number:04d}.dcm", slope + b"\2\0\0\0" + b"1 ", slope + b"\6\0\0\0" + value)
    expected = (voxels(scan) + 1024) * (1 + np.arange(8) / 8)
    np.testing.assert_array_equal(read_volume(folder).numpy()[0], expected)


def test_no_series(tmp_path):
    (tmp_path / "a").mkdir()
    refused(tmp_path / "a", "no DICOM series in this folder")
    (tmp_path / "a/b.nii.gz").write_bytes(b"x")
    refused(tmp_path / "a", "no DICOM series in this folder")


def test_two_series(scan, tmp_path):
    write_series(scan, tmp_path / "a")
    write_series(
        scan[:, :, :3], tmp_path / "a", uid="1.2.826.0.1.2", suffix="_b", tags=lambda _: {"0008|103e": "Scout"}
    )
    refused(tmp_path / "a", r"2 DICOM series: (Chest .8 images., Scout .3 images.|Scout.*Chest).*its own folder")


def test_slices_exported_as_series_of_their_own(scan, tmp_path):
    folder = write_series(scan, tmp_path / "a", tags=lambda number: {"0020|000e": f"1.2.3.{number + 1}"})
    np.testing.assert_array_equal(read_volume(folder).numpy()[0], voxels(scan))


def test_two_orientations(scan, tmp_path):
    turned = sitk.Image(scan[:, :, :1])
    turned.SetDirection((0, 0, 1, 1, 0, 0, 0, 1, 0))
    write_series(scan, tmp_path / "a")
    write_series(turned, tmp_path / "a", suffix="_b", tags=lambda _: {"0008|0018": "1.2.99"})
    refused(tmp_path / "a", "slices of different orientation")


def test_two_sizes(scan, tmp_path):
    write_series(scan, tmp_path / "a", slices=range(7))
    write_series(scan[:5], tmp_path / "a", slices=[7])
    refused(tmp_path / "a", "slices of different size")


@pytest.mark.parametrize("missing", [1, 4, 6])
def test_missing_slice(scan, tmp_path, missing):
    write_series(scan, tmp_path / "a", slices=[number for number in range(8) if number != missing])
    refused(tmp_path / "a", rf"uneven slice gaps, 2.5 to 5 mm \(after {missing - 1:04d}.dcm\)")


def test_rounded_positions_are_even(scan, tmp_path):
    scan.SetSpacing((1, 1, 0.625))
    folder = write_series(scan, tmp_path / "a", tags=lambda k: {"0020|0032": f"-12.3\\45.6\\{78.9 + 0.625 * k:.2f}"})
    assert read_volume(folder).affine[2, 2] == pytest.approx(0.625, abs=2e-3)


def test_two_echoes(scan, tmp_path):
    write_series(scan, tmp_path / "a")
    write_series(scan, tmp_path / "a", suffix="_b", tags=lambda k: {"0008|0018": f"1.2.99.{k}"})
    refused(tmp_path / "a", "two images at one position .*two echoes")


def test_tilted_gantry(scan, tmp_path):
    write_series(scan, tmp_path / "a", shift=lambda number: (0, 0.4 * number, 0))
    refused(tmp_path / "a", "shifted sideways .tilted gantry.; resample")


def test_no_position(scan, tmp_path):
    folder = write_series(scan, tmp_path / "a")
    change(folder / "0002.dcm", b"\x20\x00\x32\x00", b"\x20\x00\x31\x00")
    refused(tmp_path / "a", "no image position")


def test_colour_and_frames(scan, tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    sitk.WriteImage(sitk.Cast(scan, sitk.sitkUInt8), str(folder / "frames.dcm"))
    refused(folder, "multi-frame DICOM is not supported; convert it to NIfTI")
    colour = sitk.Compose([sitk.Cast(scan[:, :, 0], sitk.sitkUInt8)] * 3)
    (folder / "frames.dcm").unlink()
    sitk.WriteImage(colour, str(folder / "colour.dcm"))
    refused(folder, "colour images are not supported")


def test_one_slice(scan, tmp_path):
    folder = write_series(scan, tmp_path / "a", slices=[2], tags=lambda _: {"0018|0050": "4.0"})
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.numpy()[0], voxels(scan)[..., 2:3])
    assert volume.affine[2, 2] == 4


def test_truncated_slice(scan, tmp_path):
    folder = write_series(scan, tmp_path / "a")
    content = (folder / "0003.dcm").read_bytes()
    (folder / "0003.dcm").write_bytes(content[:-30])
    with pytest.raises(VolumeError, match=re.escape(str(folder))):
        read_volume(folder)
