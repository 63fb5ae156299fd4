"""Bad volumes are refused with a message that names the file and the fault."""

import gzip
import re

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import SaveImage
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
    path = save(tmp_path / "a.nii.gz", fill=[np.nan, np.inf, -np.inf])
    assert path in refused("3 NaN or infinite voxels", path)


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
    values[:2] = [0.5, 7]
    bad = save(tmp_path / "b.nii.gz", fill=values)
    assert bad in refused(re.escape("2 unknown label value(s) (0.5, 7)"), bad, allowed_labels=(0, 1, 4))
    LoadVolumed("image", allowed_labels=(0, 1))({"image": save(tmp_path / "c.nii.gz", fill=np.zeros(120))})
