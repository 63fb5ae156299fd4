"""Thigh volumes go through the preprocessing and back: two legs, one leg, odd sizes, any orientation."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.transforms import Invertd
from transeg.errors import VolumeError
from transeg.methods.thigh.preprocessing import body_mask
from transeg.transforms.intensity import RestoreIntensityd

from data_prep.phantoms import thigh_phantom
from tests.recipes import thigh_preprocessing


def turned(phantom, order, flips):
    """The same patient in a file of other axes."""
    change = np.zeros((4, 4))
    change[list(order), range(3)] = flips
    change[3, 3] = 1
    for axis, flip in zip(order, flips, strict=True):
        change[axis, 3] = phantom.image.shape[axis] - 1 if flip < 0 else 0
    volumes = (
        np.transpose(v, order)[tuple(slice(None, None, f) for f in flips)] for v in (phantom.image, phantom.mask)
    )
    return *volumes, phantom.affine @ change


KINDS = {
    "both": ({}, (0, 1, 2), (1, 1, 1), (192, 96)),
    "left or right": ({"shape": (96, 96, 8), "legs": 1}, (0, 1, 2), (-1, 1, 1), (96, 96)),
    "odd sizes": ({"shape": (131, 77, 9), "spacing": (3, 2.5, 5.5)}, (0, 1, 2), (1, -1, 1), (192, 96)),
    "slices first": ({"shape": (150, 80, 8), "spacing": (2.6, 2.4, 9)}, (2, 0, 1), (-1, 1, -1), (180, 100)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_mask_and_intensities_return_to_the_grid_of_the_input(tmp_path, kind):
    options, order, flips, size = KINDS[kind]
    phantom = thigh_phantom((1, 0), grade="moderate", **options)
    image, mask, affine = turned(phantom, order, flips)
    item = {"image": tmp_path / "a.nii.gz", "label": tmp_path / "a_mask.nii.gz"}
    nib.save(nib.Nifti1Image(image, affine), item["image"])
    nib.save(nib.Nifti1Image(mask, affine), item["label"])
    pre = thigh_preprocessing(label_keys="label", image_size=size)
    out = pre(item)
    assert out["image"].shape == out["label"].shape == (1, *size, image.shape[order.index(2)])
    np.testing.assert_allclose(out["image"].pixdim, (2, 2, np.abs(phantom.affine[2, 2])), atol=1e-6)
    assert out["image"].min() == -1
    assert out["image"].max() == 1
    body = torch.nonzero(body_mask(out["image"]).any(dim=3)[0])
    middle = (body.amin(dim=0) + body.amax(dim=0) + 1) / 2
    np.testing.assert_allclose(middle, np.array(size) / 2, atol=1.5)

    out["pred"], out["copy"] = out["label"].clone(), out["image"].clone()
    out = RestoreIntensityd("copy")(out)
    back = Invertd(("pred", "copy"), pre, orig_keys="image", nearest_interp=(True, False))(out)
    assert tuple(back["pred"].shape) == (1, *image.shape)
    np.testing.assert_allclose(back["pred"].affine.numpy(), affine, atol=1e-6)
    found = back["pred"][0].numpy() > 0.5
    assert 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum()) > 0.9
    inside = mask > 0
    assert np.corrcoef(back["copy"][0].numpy()[inside], image[inside])[0, 1] > 0.9
    assert abs(back["copy"][0].numpy().mean() / image.mean() - 1) < 0.03


def test_right_stays_right_and_front_stays_in_front(tmp_path):
    phantom = thigh_phantom((1, 0), grade="healthy")
    image = phantom.image.copy()
    image[: image.shape[0] // 2, : image.shape[1] // 2] //= 4  # index 0 is right and anterior
    nib.save(nib.Nifti1Image(image, phantom.affine), tmp_path / "a.nii.gz")
    out = thigh_preprocessing()({"image": tmp_path / "a.nii.gz"})["image"][0]
    quarters = {(x, y): out[96 * x : 96 * x + 96, 48 * y : 48 * y + 48].mean() for x in (0, 1) for y in (0, 1)}
    assert min(quarters, key=quarters.get) == (1, 1)  # high X is right, high Y anterior


def test_both_domains_are_scaled_by_one_rule(tmp_path):
    """Subcutaneous fat, which no grade changes, has the same value in both; the scanner's gain is gone."""
    values = []
    for gain, grade in ((1, "healthy"), (7, "severe")):
        phantom = thigh_phantom((1, 0), grade=grade)
        affine = phantom.affine
        nib.save(nib.Nifti1Image(phantom.image.astype(np.float32) * gain, affine), tmp_path / "a.nii.gz")
        nib.save(nib.Nifti1Image(phantom.mask, affine), tmp_path / "a_mask.nii.gz")
        out = thigh_preprocessing(label_keys="label")(
            {"image": tmp_path / "a.nii.gz", "label": tmp_path / "a_mask.nii.gz"}
        )
        outside = out["image"][(out["label"] == 0) & (out["image"] > 0)]
        values.append(float(outside.median()))
    assert abs(values[0] - values[1]) < 0.06


def test_a_leg_that_does_not_fit_is_reported(tmp_path, caplog):
    phantom = thigh_phantom((1, 0))
    nib.save(nib.Nifti1Image(phantom.image, phantom.affine), tmp_path / "a.nii.gz")
    thigh_preprocessing(image_size=(96, 96))({"image": tmp_path / "a.nii.gz"})
    assert "the body spans" in caplog.text


def test_constant_intensity_is_refused(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((20, 20, 3), np.int16), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(RuntimeError) as error:
        thigh_preprocessing()({"image": tmp_path / "a.nii.gz"})
    assert isinstance(error.value.__cause__, VolumeError)
    assert "constant intensity" in str(error.value.__cause__)


def test_a_real_scan_returns():
    data = Path(os.environ.get("TRANSEG_TEST_DATA", Path(__file__).parents[3] / "shared/data")) / "thigh"
    files = sorted(data.glob("*.nii.gz"))
    if not files:
        pytest.skip("no real scan here")
    source = nib.load(files[0])
    pre = thigh_preprocessing(image_size=(208, 112))
    out = pre({"image": files[0]})
    assert out["image"].shape == (1, 208, 112, 10)
    out["copy"] = out["image"].clone()
    out["pred"] = out["copy"] * 0 + body_mask(out["copy"])
    back = Invertd(("pred", "copy"), pre, orig_keys="image", nearest_interp=False)(RestoreIntensityd("copy")(out))
    for key in ("pred", "copy"):
        assert tuple(back[key].shape[1:]) == source.shape
        np.testing.assert_array_equal(back[key].affine.numpy(), source.affine)
    voxels = source.get_fdata()
    inside = body_mask(torch.as_tensor(voxels[None]))[0].numpy()
    assert ((back["pred"][0].numpy() > 0.5) != inside).mean() < 0.01
    assert np.corrcoef(back["copy"][0].numpy()[inside], voxels[inside])[0, 1] > 0.95
