"""Bad volumes are refused with a message that names the file and the fault."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import SaveImage
from PIL import Image
from transeg.errors import VolumeError
from transeg.transforms.load import LoadVolumed

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def save(path, shape=(6, 5, 4), affine=AFFINE, fill=None, dtype=np.float32):
    data = np.random.default_rng(0).uniform(1, 9, shape).astype(dtype)
    if fill is not None:
        data.flat[: len(fill)] = fill
    nib.save(nib.Nifti1Image(data, affine), path)
    return str(path)


def refused(message, value, channels=1, **options):
    with pytest.raises(VolumeError, match=message) as error:
        LoadVolumed("image", channels, **options)({"image": value})
    return str(error.value)


def test_files_of_channels_equal_one_file(tmp_path):
    files = [save(tmp_path / f"{i}.nii.gz", fill=[i + 1]) for i in range(3)]
    data = np.stack([nib.load(file).get_fdata(dtype=np.float32) for file in files], axis=-1)
    nib.save(nib.Nifti1Image(data, AFFINE), tmp_path / "all.nii")
    load = LoadVolumed("image", channels=3)
    parts, whole = load({"image": files})["image"], load({"image": tmp_path / "all.nii"})["image"]
    assert parts.shape == (3, 6, 5, 4)
    np.testing.assert_array_equal(parts.numpy(), whole.numpy())
    np.testing.assert_array_equal(parts.numpy(), data.transpose(3, 0, 1, 2))
    np.testing.assert_array_equal(parts.affine.numpy(), AFFINE)


def test_missing_file(tmp_path):
    good, gone = save(tmp_path / "a.nii.gz"), str(tmp_path / "gone.nii.gz")
    assert gone in refused("no such file", [good, gone], 2)


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_truncated_file(tmp_path, keep):
    path = tmp_path / "a.nii.gz"
    save(path, (20, 20, 20))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    assert str(path) in refused("cannot be read .truncated", str(path))


def test_truncated_without_compression(tmp_path):
    path = tmp_path / "a.nii"
    save(path)
    path.write_bytes(path.read_bytes()[:-8])
    refused("cannot be read .truncated", str(path))


def test_no_nifti_at_all(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(b"hello"))
    refused("not a NIfTI file", str(path))


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((6, 5), 1, "2D image"),
        ((6, 5, 4, 2), 1, "4D file with 2 channels, but a 3D volume"),
        ((6, 5, 4, 2), 4, re.escape("2 channel(s), but 4 are needed")),
        ((6, 5, 4), 4, re.escape("1 channel(s), but 4 are needed")),
    ],
)
def test_wrong_dimensions(tmp_path, shape, channels, message):
    path = save(tmp_path / "a.nii.gz", shape)
    assert path in refused(message, path, channels)


@pytest.mark.parametrize(("dtype", "message"), [("rgb", "colour"), (np.complex64, "complex")])
def test_more_than_one_number_a_voxel(tmp_path, dtype, message):
    dtype = np.dtype([(c, np.uint8) for c in "RGB"]) if dtype == "rgb" else dtype
    path = tmp_path / "a.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((6, 5, 4), dtype), AFFINE), path)
    assert str(path) in refused(f"{message}.*scalar", str(path))


def test_wrong_number_of_files(tmp_path):
    refused("2 files, but 4 channel", [save(tmp_path / "a.nii.gz"), save(tmp_path / "b.nii.gz")], 4)


def test_channels_on_different_grids(tmp_path):
    first = save(tmp_path / "a.nii.gz")
    shorter = save(tmp_path / "b.nii.gz", (6, 5, 3))
    moved = save(tmp_path / "c.nii.gz", affine=AFFINE + np.eye(4)[:, ::-1] * 0.1)
    close = save(tmp_path / "d.nii.gz", affine=AFFINE + np.eye(4)[:, ::-1] * 1e-4)
    message = refused("shape", [first, shorter], 2)
    assert first in message
    assert shorter in message
    message = refused("affine differs", [first, moved], 2)
    assert first in message
    assert moved in message
    LoadVolumed("image", 2)({"image": [first, close]})


def test_label_on_another_grid(tmp_path):
    item = {"image": save(tmp_path / "a.nii.gz"), "label": save(tmp_path / "b.nii.gz", (6, 5, 3))}
    with pytest.raises(VolumeError, match="shape"):
        LoadVolumed("label", like="image")(LoadVolumed("image")(item))
    with pytest.raises(VolumeError, match="shape"):
        LoadVolumed("label", like="image")(item)  # before the image is loaded
    with pytest.raises(VolumeError, match="no such file"):
        LoadVolumed("label", like="image")({**item, "image": str(tmp_path / "gone.nii.gz")})


def test_not_finite(tmp_path):
    path = save(tmp_path / "a.nii.gz", fill=[1, np.inf, -np.inf])
    assert path in refused("2 NaN or infinite voxels", path)


def test_all_zero_channel(tmp_path):
    path = save(tmp_path / "a.nii.gz")
    zero = save(tmp_path / "b.nii.gz", fill=np.zeros(120))
    assert zero in refused("all zero", [path, zero], 2)


def test_no_orientation(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.float32), None)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii.gz")
    refused("no orientation", str(tmp_path / "a.nii.gz"))


def test_singular_affine(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.float32), AFFINE)
    image.set_sform(np.diag([0.0, 1, 1, 1]), 1)
    nib.save(image, tmp_path / "a.nii.gz")
    refused("singular", str(tmp_path / "a.nii.gz"))


def test_the_affine_is_that_of_the_file_when_pixdim_contradicts_it(tmp_path):
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.float32), AFFINE)
    image.header["pixdim"][1:4] = 1.0
    nib.save(image, tmp_path / "a.nii.gz")
    expected = nib.load(tmp_path / "a.nii.gz").affine
    np.testing.assert_array_equal(expected, AFFINE)
    volume = LoadVolumed("image")({"image": tmp_path / "a.nii.gz"})["image"]
    np.testing.assert_array_equal(volume.affine.numpy(), expected)
    SaveImage(tmp_path, output_postfix="pred", separate_folder=False, resample=True, print_log=False)(volume)
    np.testing.assert_array_equal(nib.load(tmp_path / "a_pred.nii.gz").affine, expected)


def test_a_file_without_an_image(tmp_path):
    nib.save(nib.gifti.GiftiImage(), tmp_path / "a.gii")
    refused("cannot be read .*GiftiImage is no image", str(tmp_path / "a.gii"))


def test_unknown_labels(tmp_path):
    values = np.resize([0, 1, 4, 1.00001], 120)
    good = save(tmp_path / "a.nii.gz", fill=values)
    label = LoadVolumed("image", allowed_labels=(0, 1, 4))({"image": good})["image"]
    assert set(np.unique(label.numpy())) == {0, 1, 4}
    values[:2] = [5, 7]
    bad = save(tmp_path / "b.nii.gz", fill=values)
    message = re.escape("2 unknown label value(s): 5 (1 voxel), 7 (1 voxel); allowed are [0, 1, 4]")
    assert bad in refused(message, bad, allowed_labels=(0, 1, 4))
    LoadVolumed("image", allowed_labels=(0, 1))({"image": save(tmp_path / "c.nii.gz", fill=np.zeros(120))})


def test_labels_may_be_mapped(tmp_path):
    path = save(tmp_path / "a.nii.gz", fill=np.resize([0, 205, 430], 120))
    classes = {0: 0, 205: 1, 430: 0}
    label = LoadVolumed("image", allowed_labels=classes)({"image": path})["image"]
    assert label.flatten()[:3].tolist() == [0, 1, 0]


def test_grids_that_differ_by_rounding_become_one(tmp_path):
    for shift, fine in ((0.09, True), (0.11, False)):  # of 2 mm; the limit is 5 %
        moved = AFFINE + np.eye(4, k=3) * shift
        item = {"image": save(tmp_path / "a.nii.gz"), "label": save(tmp_path / "b.nii.gz", affine=moved)}
        load = LoadVolumed(("image", "label"))
        if fine:
            label = load(item)["label"]
            np.testing.assert_array_equal(label.affine.numpy(), AFFINE)
            np.testing.assert_array_equal(label.meta["original_affine"], AFFINE)
        else:
            with pytest.raises(VolumeError, match=r"b.nii.gz: its affine differs .*a.nii.gz, by up to 0.11 mm .*2 mm"):
                load(item)


def test_a_small_angle_counts_at_the_corners(tmp_path):
    turned = AFFINE.copy()
    turned[1, 0] = 1e-3  # per voxel: 0.005 mm over 6 voxels, 0.5 mm over 501
    for length in (6, 501):
        item = {
            "image": save(tmp_path / "a.nii.gz", (length, 3, 2)),
            "label": save(tmp_path / "b.nii.gz", (length, 3, 2), affine=turned),
        }
        if length == 6:
            LoadVolumed(("image", "label"))(item)
        else:
            with pytest.raises(VolumeError, match=r"by up to 0.5 mm"):
                LoadVolumed(("image", "label"))(item)


def test_references_in_an_item(tmp_path):
    """Channels of several formats, one of them a channel of a file with several, and slices with a spacing."""
    data = np.random.default_rng(0).uniform(1, 9, (4, 5, 3, 2)).astype(np.float32)
    affine = np.diag([-1.9, -1.8, 5, 1])
    nib.save(nib.Nifti1Image(data, affine), tmp_path / "all.nii.gz")
    for number in range(3):
        plane = data[..., number, 0].T.round().astype(np.uint8)
        Image.fromarray(plane).save(tmp_path / f"P_{number}.tif")
    item = {"image": [f"{tmp_path}/all.nii.gz#1", f"{tmp_path}/P_*.tif"], "spacing": [1.9, 1.8, 5], "case": "a"}
    image = LoadVolumed("image", 2)(item)["image"]
    np.testing.assert_array_equal(image.numpy(), np.stack([data[..., 1], data[..., 0].round()]))
    label = LoadVolumed("label", like="image")({**item, "label": f"{tmp_path}/all.nii.gz#0"})["label"]
    np.testing.assert_array_equal(label.numpy()[0], data[..., 0])
    assert "all.nii.gz#0 is the first" in refused("4D file with 2 channels", f"{tmp_path}/all.nii.gz")


def test_a_loaded_volume_is_checked_too(tmp_path):
    volume = LoadVolumed("image")({"image": save(tmp_path / "a.nii.gz")})["image"]
    volume.applied_operations.append({"class": "LoadImage"})
    again = LoadVolumed("image")({"image": volume})["image"]
    np.testing.assert_array_equal(again.numpy(), volume.numpy())
    np.testing.assert_array_equal(again.affine.numpy(), AFFINE)
    assert again.meta["filename_or_obj"] == str(tmp_path / "a.nii.gz")
    assert again.applied_operations == []
    refused("1 channel.s., but 2 are needed", volume, 2)
    refused("1 NaN or infinite", volume.where(volume < volume.max(), np.inf))
    with pytest.raises(VolumeError, match="shape"):
        LoadVolumed("label", like="image")({"image": volume, "label": save(tmp_path / "b.nii.gz", (6, 5, 3))})


def test_nan_at_the_border(tmp_path, caplog):
    path = save(tmp_path / "a.nii.gz", fill=[np.nan])
    assert LoadVolumed("image")({"image": path})["image"].flatten()[0] == 0
    assert f"{path}: 1 NaN voxels at the border" in caplog.text
