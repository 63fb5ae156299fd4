"""Heart volumes go through the preprocessing and back: any orientation, oblique, crops beyond the border."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Invertd
from transeg.errors import DataError, VolumeError
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing, find_heart
from transeg.methods.cardiac.recipe import HEART
from transeg.transforms.intensity import RestoreIntensityd

from data_prep.phantoms import heart_phantom

COARSE = {"pixdim": 3.0, "image_size": (56, 56, 44)}
REGIONS = (205, 420, 500, 550, 600)


def preprocessing(pixdim=1.5, image_size=(112, 112, 86), **options):
    return cardiac_preprocessing(HEART | {"pixdim": pixdim, "image_size": image_size}, **options)


def write(folder, phantom):
    item = {"image": folder / "a_image.nii.gz", "label": folder / "a_label.nii.gz"}
    nib.save(nib.Nifti1Image(phantom.image, phantom.affine), item["image"])
    nib.save(nib.Nifti1Image(phantom.label, phantom.affine), item["label"])
    return item


def middle(label, affine):
    voxels = np.argwhere(np.isin(label, REGIONS))
    return nib.affines.apply_affine(affine, np.quantile(voxels, (0.01, 0.99), axis=0).mean(axis=0))


@pytest.mark.parametrize(("modality", "case"), [("ct", 0), ("mr", 0), ("mr", 2)])
def test_labels_and_units_return_to_the_grid_of_the_input(tmp_path, modality, case):
    phantom = heart_phantom((1, case), modality, (71, 64, 47), (2.7, 3.1, 3.4))
    item = write(tmp_path, phantom)
    pre = preprocessing(label_keys="label", modality=modality, centre="label", **COARSE)
    out = pre(item)
    assert out["image"].shape == out["label"].shape == (1, 56, 56, 44)
    np.testing.assert_allclose(out["image"].pixdim, (3, 3, 3), atol=1e-5)
    assert out["image"].min() >= -1
    assert out["image"].max() <= 1
    assert set(out["label"].unique().tolist()) == set(range(len(HEART["labels"])))
    heart = torch.nonzero(out["label"][0]).double()
    box = (heart.quantile(0.01, dim=0) + heart.quantile(0.99, dim=0)) / 2
    np.testing.assert_allclose(box, (27.5, 27.5, 21.5), atol=1.1)

    out["pred"], out["copy"] = out["label"].clone(), out["image"].clone()
    out["inside"] = torch.ones_like(out["image"])
    out = RestoreIntensityd("copy")(out)
    keys = ("pred", "copy", "inside")
    back = Invertd(keys, pre, orig_keys="image", nearest_interp=(True, False, True))(out)
    for key in keys:
        assert tuple(back[key].shape) == (1, *phantom.image.shape)
        np.testing.assert_allclose(back[key].affine.numpy(), phantom.affine, atol=1e-4)
    inside = back["inside"][0].numpy() > 0.5
    found, classes = back["pred"][0].numpy(), {205: 1, 420: 2, 500: 3, 550: 4, 600: 5}
    for value, number in classes.items():
        truth = phantom.label == value
        assert 2 * (truth & (found == number)).sum() / (truth.sum() + (found == number).sum()) > 0.88
    low, high = (-100, 800) if modality == "ct" else np.percentile(phantom.image, (0.5, 99.5))
    expected = phantom.image.clip(low, high)
    difference = np.abs(back["copy"][0].numpy() - expected)[inside]
    assert np.median(difference) < 0.03 * (high - low)
    assert difference.mean() < 0.05 * (high - low)


def test_hounsfield_units_are_mapped_by_one_line(tmp_path):
    ramp = np.linspace(-1000, 1000, 16**3).reshape(16, 16, 16).astype(np.float32)
    nib.save(nib.Nifti1Image(ramp, np.eye(4)), tmp_path / "a.nii.gz")
    pre = preprocessing(pixdim=1.0, image_size=(16, 16, 16), centre=(7.5, 7.5, 7.5))
    out = pre({"image": tmp_path / "a.nii.gz"})
    np.testing.assert_allclose(out["image"][0].numpy(), ((ramp - 350) / 450).clip(-1, 1), atol=1e-5)
    out["copy"] = out["image"].clone()
    np.testing.assert_allclose(RestoreIntensityd("copy")(out)["copy"][0].numpy(), ramp.clip(-100, 800), atol=1e-3)


def test_where_the_centre_comes_from(tmp_path):
    phantom = heart_phantom((1, 1), "mr", (64, 64, 52), 3.0)
    item = write(tmp_path, phantom)
    centre = middle(phantom.label, phantom.affine)
    grid = np.diag([4.0, -4.0, 4.0, 1.0])  # a mask on a grid of its own
    grid[:3, 3] = centre - (40, -40, 40)
    mask = np.zeros((21, 21, 21), np.uint8)
    mask[8:13, 8:13, 8:13] = 1
    nib.save(nib.Nifti1Image(mask, grid), tmp_path / "mask.nii.gz")
    image = {"image": item["image"]}

    def found(item, label_keys=(), **options):
        pre = preprocessing(label_keys=label_keys, modality="mr", **options, **COARSE)
        return pre(item)["image"]

    reference = found(item, "label", centre="label")
    assert np.linalg.norm(reference.meta["crop_centre"] - centre) < 6, "two voxels"
    for other in (
        found(image, centre=centre.tolist()),
        found({**image, "centre": centre}),
        found({**image, "mask": tmp_path / "mask.nii.gz"}),
    ):
        np.testing.assert_allclose(other.meta["crop_centre"], centre, atol=1e-3)
        assert np.abs(other.affine - reference.affine).max() < 6.1
    shifted = found({**image, "centre": centre + 30}, centre=centre.tolist())
    assert (shifted.affine - reference.affine)[:3, 3].norm() > 30, "the item's own centre goes first"
    whole = preprocessing(modality="mr", pixdim=3.0, whole=True)(image)["image"]
    assert whole.shape[1] > 56
    assert "crop_centre" not in whole.meta


def test_padding_is_as_dark_as_air(tmp_path):
    item = write(tmp_path, heart_phantom((1, 0), "ct", (64, 64, 52), 3.0))
    out = preprocessing(pixdim=3.0, image_size=(100, 90, 80), centre="found")({"image": item["image"]})
    assert out["image"].shape == (1, 100, 90, 80)
    assert (out["image"][0, 0] == -1).all()
    assert (out["image"][0, :, :, -1] == -1).all()


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_the_finder_comes_near_enough_for_the_crop(tmp_path, modality):
    errors, kept = [], []
    for case in range(6):
        phantom = heart_phantom((3, case), modality, (64, 64, 52), 3.0, difficulty=case / 5)
        item = write(tmp_path, phantom)
        out = preprocessing(label_keys="label", modality=modality, centre="found", **COARSE)(item)
        voxels = np.isin(phantom.label, REGIONS).sum() * abs(np.linalg.det(phantom.affine[:3, :3])) / 27
        errors.append(np.linalg.norm(out["image"].meta["crop_centre"] - middle(phantom.label, phantom.affine)))
        kept.append(float((out["label"] > 0).sum() / voxels))
    assert np.mean(errors) < 18, errors
    assert max(errors) < 30, errors
    assert min(kept) > 0.93, kept


def test_the_finder_by_hand():
    volume = np.zeros((60, 50, 40), np.float32)
    volume[20:38, 15:35, 10:30] = 0.6
    volume[50:53] = 1.0  # bright but thin
    assert np.abs(find_heart(volume, 2.0) - (28.5, 24.5, 19.5)).max() < 3
    assert find_heart(np.zeros((30, 30, 30), np.float32), 2.0) is None


def test_nothing_bright_is_reported(tmp_path, caplog):
    image = np.full((20, 20, 20), -900, np.int16)
    nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / "a.nii.gz")
    out = preprocessing(image_size=(8, 8, 8))({"image": tmp_path / "a.nii.gz"})
    assert out["image"].shape == (1, 8, 8, 8)
    assert "heart not found" in caplog.text


def test_labels_become_classes_and_others_are_refused(tmp_path):
    label = np.zeros((16, 16, 16), np.int16)
    values = [205, 420, 421, 500, 550, 600, 820, 850, 3]
    for x, value in enumerate(values):
        label[x] = value
    item = {"image": tmp_path / "a.nii.gz", "label": tmp_path / "l.nii.gz"}
    nib.save(nib.Nifti1Image(np.arange(16**3).reshape(16, 16, 16).astype(np.int16), np.eye(4)), item["image"])
    nib.save(nib.Nifti1Image(label, np.eye(4)), item["label"])
    pre = preprocessing(label_keys="label", pixdim=1.0, whole=True)
    assert pre(item)["label"][0, :, 0, 0].tolist()[:9] == [1, 2, 2, 3, 4, 5, 0, 0, 3]
    label[0, 0, 0] = 77
    nib.save(nib.Nifti1Image(label, np.eye(4)), item["label"])
    assert "1 unknown label value(s): 77 (1 voxel)" in fault(pre, item)


def fault(pre, item):
    with pytest.raises(RuntimeError) as error:
        pre(item)
    assert isinstance(error.value.__cause__, VolumeError)
    return str(error.value.__cause__)


def test_what_a_user_gets_wrong(tmp_path):
    item = {"image": tmp_path / "a.nii.gz", "label": tmp_path / "l.nii.gz"}
    nib.save(nib.Nifti1Image(np.ones((16, 16, 16), np.int16), np.eye(4)), item["image"])
    nib.save(nib.Nifti1Image(np.zeros((16, 16, 16), np.int16), np.eye(4)), item["label"])
    assert "empty" in fault(preprocessing(label_keys="label", modality="ct", centre="label"), item)
    pre = preprocessing(modality="ct", image_size=(8, 8, 8))
    assert "nothing of the image lies around (900, 0, 0) mm" in fault(pre, {**item, "centre": (900, 0, 0)})
    assert "must be (x, y, z)" in fault(pre, {**item, "centre": (1, 2)})
    with pytest.raises(ValueError, match="modality"):
        preprocessing(modality="us")
    with pytest.raises(ValueError, match="label key"):
        preprocessing(centre="label")


def save(path, voxels, affine=None):
    nib.save(nib.Nifti1Image(np.asarray(voxels, np.float32), np.eye(4) if affine is None else affine), path)
    return path


@pytest.fixture
def blob(tmp_path):
    """A bright box off the middle of a dark volume."""
    voxels = np.full((20, 20, 20), 5.0)
    voxels[0, 0, 0] = 0
    voxels[12:16, 4:10, 2:8] = 100
    return {"image": save(tmp_path / "mr_1.nii.gz", voxels)}


def crop_of(item, size=(8, 8, 8), **recipe):
    out = cardiac_preprocessing(HEART | {"pixdim": 1.0, "image_size": size} | recipe)(item)["image"]
    return out, [round(float(value), 3) for value in out.meta["crop_centre"]]


def test_rules_of_the_crop(blob, tmp_path):
    out, centre = crop_of(blob, crop="foreground")
    assert centre == [13.5, 6.5, 4.5]
    assert (out > 0).sum() == 4 * 6 * 6
    assert crop_of(blob, crop="centre")[1] == [9.5, 9.5, 9.5]
    assert crop_of(blob, crop=[3, 4, 5])[1] == [3, 4, 5]
    whole, centre = crop_of(blob, (24, 20, 21), crop="none")
    assert centre == [9.5, 9.5, 9.5]
    assert (whole > 0).sum() == 4 * 6 * 6
    pre = cardiac_preprocessing(HEART | {"pixdim": 1.0, "image_size": (24, 19, 21), "crop": "none"})
    assert "[20, 20, 20] voxels, more than [24, 19, 21]" in fault(pre, blob)
    mask = np.zeros((20, 20, 20))
    mask[2:5, 2:5, 2:5] = 1
    marked = blob | {"mask": save(tmp_path / "mask.nii.gz", mask)}
    assert crop_of(marked, crop="foreground")[1] == crop_of(marked, crop="heart")[1] == [3, 3, 3]
    assert crop_of(marked, crop="centre")[1] == [9.5, 9.5, 9.5]
    assert crop_of(marked | {"centre": (7, 7, 7)}, crop="centre")[1] == [7, 7, 7]
    for wrong in ({"crop": "liver"}, {"axis": "short"}):
        with pytest.raises(DataError, match="expected one of axial, coronal, sagittal, native, and heart"):
            cardiac_preprocessing(HEART | wrong)


def test_a_label_is_the_centre_only_where_the_heart_would_have_to_be_found(blob):
    item = blob | {"label": blob["image"]}
    recipe = HEART | {
        "pixdim": 1.0,
        "image_size": (8, 8, 8),
        "labels": ["no", "yes"],
        "label_values": {"no": [5], "yes": [100]},
    }
    for crop, expected in (("heart", (13.5, 6.5, 4.5)), ("centre", (9.5, 9.5, 9.5))):
        out = cardiac_preprocessing(recipe | {"crop": crop}, label_keys="label", centre="label")(item)
        assert tuple(out["image"].meta["crop_centre"].tolist()) == expected
        assert set(out["label"].unique().tolist()) <= {0, 1}


@pytest.mark.parametrize(
    ("axis", "order"), [("axial", "RAS"), ("coronal", "RSA"), ("sagittal", "ASR"), ("native", "PSR")]
)
def test_the_last_axis_is_that_of_the_recipe_and_masks_return(tmp_path, axis, order):
    rng = np.random.default_rng(0)
    sin, cos = np.sin(0.2), np.cos(0.2)
    affine = np.array([[sin, 0, cos, -5], [-cos, 0, sin, 3], [0, 1, 0, 1], [0, 0, 0, 1]]) * (1.5, 1.5, 8, 1)
    voxels = rng.uniform(0, 100, (12, 10, 4))
    item = {"image": save(tmp_path / "mr_a.nii.gz", voxels, affine)}
    pre = cardiac_preprocessing(HEART | {"pixdim": -1, "image_size": (14, 14, 14), "axis": axis, "crop": "centre"})
    out = pre(item)
    assert "".join(nib.aff2axcodes(out["image"].affine.numpy())) == order
    np.testing.assert_allclose(sorted(out["image"].pixdim.tolist()), [1.5, 1.5, 8], atol=1e-3)
    out["copy"] = out["image"].clone()
    back = Invertd("copy", pre, orig_keys="image", nearest_interp=False)(RestoreIntensityd("copy")(out))["copy"]
    low, high = np.percentile(voxels.astype(np.float32), (0.5, 99.5))
    np.testing.assert_allclose(back[0].numpy(), voxels.clip(low, high), atol=0.01)
    np.testing.assert_allclose(back.affine.numpy(), affine, atol=1e-5)


def test_thick_slices_are_not_resampled(tmp_path):
    affine = np.diag([2.0, 2.0, 9.0, 1.0])
    voxels = np.broadcast_to(np.arange(1.0, 8), (20, 20, 7))
    recipe = HEART | {"pixdim": [4.0, 4.0, -1], "image_size": (10, 10, 7), "axis": "native", "crop": "centre"}
    out = cardiac_preprocessing(recipe)({"image": save(tmp_path / "mr_1.nii.gz", voxels, affine)})["image"]
    np.testing.assert_allclose(out.pixdim.tolist(), [4, 4, 9], atol=1e-5)
    levels = np.unique(out.numpy().round(4))
    assert len(levels) == 7, "every slice as it was"


def test_slices_without_a_voxel_size_are_resized_and_masks_return(tmp_path):
    voxels = np.random.default_rng(0).uniform(1, 2, (30, 24, 5))
    recipe = HEART | {"pixdim": None, "image_size": (10, 12, 6), "axis": "native", "crop": "centre"}
    pre = cardiac_preprocessing(recipe)
    out = pre({"image": save(tmp_path / "mr_1.nii.gz", voxels)})
    assert out["image"].shape == (1, 10, 12, 6)
    out["pred"] = torch.ones_like(out["image"])
    assert Invertd("pred", pre, orig_keys="image", nearest_interp=True)(out)["pred"].shape == (1, 30, 24, 5)


def test_several_channels(tmp_path):
    files = [save(tmp_path / f"mr_{k}.nii.gz", np.arange(1000.0).reshape(10, 10, 10) ** (k + 1)) for k in range(2)]
    recipe = HEART | {"channels": ["t1", "t2"], "pixdim": 1.0, "image_size": (10, 10, 10), "crop": "centre"}
    out = cardiac_preprocessing(recipe)({"image": files})["image"]
    assert out.shape == (2, 10, 10, 10)
    assert out.amax(dim=(1, 2, 3)).tolist() == [1, 1]
    assert out[1].mean() < out[0].mean()


def test_the_finder_with_thick_slices():
    volume = np.zeros((60, 50, 40), np.float32)
    volume[20:38, 15:35, 10:30] = 0.6
    whole, thick = find_heart(volume, 2.0), find_heart(volume[:, :, ::4], (2.0, 2.0, 8.0))
    assert np.abs(whole - thick * (1, 1, 4)).max() < 4


def test_a_real_scan_returns():
    data = Path(os.environ.get("TRANSEG_TEST_DATA", Path(__file__).parents[3] / "shared/data")) / "heart"
    file, mask = data / "ct_heart_crop.nii.gz", data / "ct_heart_mask.nii.gz"
    if not file.is_file():
        pytest.skip("no real scan here")
    source = nib.load(file)
    pre = preprocessing()
    centres = [pre(item)["image"].meta["crop_centre"] for item in ({"image": file}, {"image": file, "mask": mask})]
    assert np.linalg.norm(centres[0] - centres[1]) < 20
    out = pre({"image": file})
    assert out["image"].shape == (1, 112, 112, 86)
    out["copy"], out["inside"] = out["image"].clone(), torch.ones_like(out["image"])
    back = Invertd(("copy", "inside"), pre, orig_keys="image", nearest_interp=False)(RestoreIntensityd("copy")(out))
    assert tuple(back["copy"].shape[1:]) == source.shape
    np.testing.assert_array_equal(back["copy"].affine.numpy(), source.affine)
    inside = back["inside"][0].numpy() > 0.99
    assert inside.mean() > 0.6
    difference = np.abs(back["copy"][0].numpy() - source.get_fdata().clip(-100, 800))[inside]
    assert difference.max() < 0.1, "the voxels are those of the file, so no value is interpolated"
