"""The preprocessing undoes itself on every kind of grid, and puts the brain in the middle."""

import os
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd
from transeg.errors import VolumeError, root_cause
from transeg.transforms.intensity import NormaliseForegroundd, RestoreIntensityd, foreground_mask, nonzero_mask
from transeg.transforms.preprocessing import foreground, load_scan

from tests.recipes import BRAIN, brain_preprocessing


@contextmanager
def refused(message):
    """Expect a VolumeError with this message, which MONAI wraps."""
    with pytest.raises(RuntimeError) as error:
        yield
    cause = root_cause(error.value)
    assert isinstance(cause, VolumeError)
    assert message in str(cause)


def rotation(degrees):
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = turn[:2, :2]
    return turn @ tilt


def grid(zooms, flips=(1, 1, 1), order=(0, 1, 2), degrees=0.0, origin=(-31.25, 12.5, 7.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(np.multiply(zooms, flips))[:, list(order)]
    affine = rotation(degrees) @ affine
    affine[:3, 3] = origin
    return affine


GRIDS = {
    "plain": ((70, 80, 30), grid((2, 2, 2))),
    "native": ((90, 80, 40), grid((1.5, 1.5, 3))),
    "flipped": ((70, 80, 31), grid((2, 2, 2.5), flips=(-1, -1, 1))),
    "permuted": ((40, 91, 71), grid((2, 2, 3), order=(2, 0, 1), flips=(1, -1, -1))),
    "oblique": ((75, 83, 33), grid((1.9, 2.1, 3.3), degrees=17)),
    "one slice": ((70, 80, 1), grid((2, 2, 5), flips=(-1, 1, 1))),
    "thick": ((100, 100, 9), grid((1.2, 1.2, 7), flips=(-1, 1, 1), degrees=-8)),
}


def ellipsoid(shape, affine, centre=(0.0, 0.0, 0.0), radius=(45.0, 60.0, 40.0)):
    """Inside an ellipsoid given in mm around the middle of the grid."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    return (((world - middle - centre) / radius) ** 2).sum(-1) < 1


def write(folder, shape, affine, channels=2, four_d=False):
    rng = np.random.default_rng(1)
    brain = ellipsoid(shape, affine, centre=(6.0, -5.0, 0.0))
    lesion = ellipsoid(shape, affine, centre=(20.0, 10.0, 5.0), radius=(14.0, 16.0, 14.0))
    data = np.stack([brain * rng.normal(300 + 100 * c, 40, shape) for c in range(channels)], -1).astype(np.float32)
    data[lesion] += 100
    item = {"label": str(folder / "seg.nii.gz")}
    nib.save(nib.Nifti1Image((3 * lesion).astype(np.uint8), affine), item["label"])
    files = [folder / f"{c}.nii.gz" for c in range(channels)]
    if four_d:
        files = folder / "all.nii.gz"
        nib.save(nib.Nifti1Image(data, affine), files)
    else:
        for c, file in enumerate(files):
            nib.save(nib.Nifti1Image(data[..., c], affine), file)
    return {**item, "image": files}, data, lesion


def invert(preprocessing, item, key):
    return Invertd(key, preprocessing, orig_keys="image", nearest_interp=False)(item)[key]


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("four_d", [False, True])
def test_a_mask_returns_to_the_grid_of_the_input(tmp_path, name, four_d):
    shape, affine = GRIDS[name]
    item, _, lesion = write(tmp_path, shape, affine, four_d=four_d)
    pre = brain_preprocessing(label_keys="label", pixdim=2.0, image_size=(72, 80))
    out = pre(item)
    assert out["image"].shape[:3] == (2, 72, 80)
    np.testing.assert_allclose(out["image"].pixdim, 2, atol=1e-6)
    assert set(np.unique(out["label"])) == {0, 1}
    out["pred"] = out["label"].clone()
    back = invert(pre, out, "pred")
    source = nib.load(item["label"])
    assert tuple(back.shape) == (1, *source.shape)
    np.testing.assert_allclose(back.affine.numpy(), source.affine, atol=1e-6)
    found = back[0].numpy() > 0.5
    assert 2 * (found & lesion).sum() / (found.sum() + lesion.sum()) > 0.9


@pytest.mark.parametrize("name", ["plain", "permuted", "oblique"])
def test_the_brain_is_in_the_middle_and_normalised(tmp_path, name):
    item, *_ = write(tmp_path, *GRIDS[name])
    image = brain_preprocessing(image_size=(72, 80), clip=False)(item)["image"]
    brain = nonzero_mask(image)
    for axis in (1, 2):
        along = np.flatnonzero(brain.any(dim=3).any(dim=3 - axis)[0] if axis == 1 else brain.any(dim=3).any(dim=1)[0])
        assert abs(along[0] + along[-1] + 1 - image.shape[axis]) <= 1
    inside = image[:, brain[0]]
    np.testing.assert_allclose(inside.mean(dim=1), 0, atol=1e-5)
    np.testing.assert_allclose(inside.std(dim=1), 0.2, atol=1e-4)
    assert not image[:, ~brain[0]].any()


def test_axes_are_right_posterior_superior(tmp_path):
    shape, affine = GRIDS["permuted"]
    item, _, _lesion = write(tmp_path, shape, affine)
    out = brain_preprocessing(label_keys="label", image_size=(72, 80))(item)
    middle = torch.nonzero(out["label"][0]).double().mean(dim=0)
    brain = torch.nonzero(nonzero_mask(out["image"])[0]).double().mean(dim=0)
    np.testing.assert_allclose((middle - brain) * 2, (14, 15, 5), atol=2)  # mm right, anterior, superior


def test_voxels_that_are_right_already_are_not_touched(tmp_path):
    item, data, _ = write(tmp_path, (72, 80, 12), grid((2, 2, 2)))
    image = brain_preprocessing(image_size=(72, 80), clip=False)(item)["image"]
    restored = RestoreIntensityd("copy")({"copy": image.clone(), "image": image})["copy"]
    inside = np.isin(np.round(data, 2), np.round(restored.numpy(), 2))
    assert inside[data != 0].mean() > 0.99


def test_resampling_leaves_no_trace_around_the_brain(tmp_path):
    item, data, _ = write(tmp_path, (72, 80, 6), grid((2, 2, 6)))
    image = brain_preprocessing(image_size=(72, 80))(item)["image"]
    slices = [int((data[:, :, z] != 0).any(-1).sum()) for z in range(6)]
    found = nonzero_mask(image)[0].sum(dim=(0, 1)).tolist()
    assert set(found) <= set(slices)  # 6 mm slices to 2 mm: the nearest slice's brain, in the plane as it was


def test_restored_intensities_on_the_input_grid(tmp_path):
    item, data, _ = write(tmp_path, *GRIDS["flipped"])
    pre = brain_preprocessing(pixdim=2.0, image_size=(72, 80), clip=False)
    out = pre(item)
    out["copy"] = out["image"].clone()
    back = invert(pre, RestoreIntensityd("copy")(out), "copy")
    deep = np.asarray(data.min(-1) > 0)
    for channel in range(2):
        assert abs(back[channel].numpy()[deep].mean() - data[..., channel][deep].mean()) < 5
    assert not back[:, 0, 0].any()


def small_volume():
    """Brain of 8 voxels, mean 5 and std 2, mean 2 and std 1, and two voxels of background; the first is 0 in one."""
    first, second = [2, 4, 4, 4, 5, 5, 7, 9], [0, 2, 2, 2, 2, 2, 2, 4]
    return MetaTensor(torch.tensor([[*first, 0, 0], [*second, 0, 0]], dtype=torch.float32).reshape(2, 5, 2, 1))


def normalised(**options):
    item = NormaliseForegroundd("image", **options)({"image": small_volume()})
    return item["image"], RestoreIntensityd("copy")({**item, "copy": item["image"].clone()})["copy"]


def test_three_deviations_and_the_background_by_hand():
    image, restored = normalised(num_std=3.0, zero_background=False)
    first = [-3 / 6, -1 / 6, -1 / 6, -1 / 6, 0, 0, 2 / 6, 4 / 6, -1, -1]
    second = [-2 / 3, 0, 0, 0, 0, 0, 0, 2 / 3, -1, -1]
    np.testing.assert_allclose(image.flatten(1).numpy(), [first, second], atol=1e-6)
    np.testing.assert_allclose(restored.numpy(), small_volume().numpy(), atol=1e-5)
    assert foreground_mask(image).flatten().tolist() == [True] * 8 + [False] * 2
    assert foreground_mask(image + 0.01, 0.02).flatten().tolist() == [True] * 8 + [False] * 2


@pytest.mark.parametrize(("zero_background", "background"), [(True, 0), (False, -1)])
def test_clipped_values_by_hand(zero_background, background):
    """The first brain voxel or the middle ones have the values of the background, and yet do not count as such."""
    image, restored = normalised(num_std=1.0, zero_background=zero_background, clip=True)
    first = [-1, -0.5, -0.5, -0.5, 0, 0, 1, 1, background, background]
    second = [-1, 0, 0, 0, 0, 0, 0, 1, background, background]
    np.testing.assert_allclose(image.flatten(1).numpy(), [first, second], atol=1e-6)
    expected = [3, 4, 4, 4, 5, 5, 7, 7, 0, 0], [1, 2, 2, 2, 2, 2, 2, 3, 0, 0]
    np.testing.assert_allclose(restored.flatten(1).numpy(), expected, atol=1e-5)


def test_a_background_that_is_mapped_returns_as_zero(tmp_path):
    item, data, _ = write(tmp_path, *GRIDS["flipped"])
    pre = brain_preprocessing(pixdim=2.0, image_size=(72, 80), num_std=3.0, zero_background=False)
    out = pre(item)
    image, inside = out["image"], foreground_mask(out["image"])
    masked = brain_preprocessing(pixdim=2.0, image_size=(72, 80))(item)["image"]
    np.testing.assert_array_equal(inside.numpy(), nonzero_mask(masked).numpy())
    assert (image[:, ~inside[0]] == -1).all()
    assert (image[:, inside[0]] == -1).all(dim=0).sum() == 0
    out["copy"] = image.clone()
    back = invert(pre, RestoreIntensityd("copy")(out), "copy")
    deep = np.asarray(data.min(-1) > 0)
    assert abs(back[0].numpy()[deep].mean() - data[..., 0][deep].mean()) < 5
    assert not back[:, 0, 0].any()


def rewrite(item, data, affine, change):
    """The scan's channels again, each changed by a function of its voxels."""
    for c, file in enumerate(item["image"]):
        nib.save(nib.Nifti1Image(change(data[..., c]).astype(np.float32), affine), file)


def test_a_mask_replaces_a_background_that_is_noise(tmp_path, caplog):
    shape, affine = GRIDS["plain"]
    item, data, _ = write(tmp_path, shape, affine)
    expected = brain_preprocessing()(item)["image"]
    nib.save(nib.Nifti1Image((data.any(-1)).astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    noise = np.random.default_rng(0).normal(-7, 1, shape)
    rewrite(item, data, affine, lambda image: np.where(image == 0, noise, image))
    for changes in ({}, {"foreground": "mask"}):
        image = brain_preprocessing(**changes)({"image": item["image"], "mask": tmp_path / "mask.nii.gz"})["image"]
        np.testing.assert_allclose(image.numpy(), expected.numpy(), atol=1e-5)
    brain_preprocessing()(item)
    assert "no zero background" in caplog.text
    with refused("no foreground mask; give one"):
        brain_preprocessing(foreground="mask")(item)


@pytest.mark.parametrize("zero_background", [True, False])
@pytest.mark.parametrize(("factor", "offset"), [(1, -7), (0.01, 0), (3, 1000), (-1, 50)], ids=str)
def test_gain_and_offset_of_a_scan_do_not_matter(tmp_path, factor, offset, zero_background):
    """Also where the background moves with them, as in a scan that was normalised as a whole."""
    item, data, _ = write(tmp_path, *GRIDS["plain"])
    pre = brain_preprocessing(zero_background=zero_background, num_std=3.0)
    expected = pre(item)["image"]
    rewrite(item, data, GRIDS["plain"][1], lambda image: factor * image + offset)
    found = pre(item)["image"]
    inside = foreground_mask(expected)
    np.testing.assert_array_equal(foreground_mask(found).numpy(), inside.numpy())
    np.testing.assert_allclose(np.sign(factor) * (found * inside).numpy(), (expected * inside).numpy(), atol=1e-4)
    assert (found[:, ~inside[0]] == (0 if zero_background else -1)).all()


def test_an_offset_within_the_brain_does_not_move_the_background(tmp_path):
    item, data, _ = write(tmp_path, *GRIDS["plain"])
    pre = brain_preprocessing(zero_background=False, num_std=3.0)
    expected = pre(item)["image"]
    rewrite(item, data, GRIDS["plain"][1], lambda image: np.where(image == 0, 0, image - image[image != 0].mean()))
    np.testing.assert_allclose(pre(item)["image"].numpy(), expected.numpy(), atol=1e-4)


def test_foreground_by_hand():
    image = torch.zeros(2, 3, 3, 3)
    image[0] += 5
    image[0, 1, 1, 1] = 0  # differs from the first channel's background
    image[1, 0, 1, 1] = 2
    assert torch.nonzero(foreground(image)[0]).tolist() == [[0, 1, 1], [1, 1, 1]]
    noise = torch.arange(1, 28.0).reshape(1, 3, 3, 3)
    assert foreground(noise).all()


@pytest.mark.parametrize("zero_background", [True, False])
def test_interpolation_at_the_edge_does_not_depend_on_what_0_means(tmp_path, zero_background):
    """Neither inside the foreground nor around it, on another grid than that of the file."""
    shape, affine = GRIDS["plain"]
    item, data, _ = write(tmp_path, shape, affine)
    preprocess = brain_preprocessing(pixdim=3.1, zero_background=zero_background, num_std=3.0)
    plain = preprocess(item)["image"]
    for change in (lambda image: np.where(image != 0, image + 700, 0), lambda image: image + 700, lambda x: 0.01 * x):
        rewrite(item, data, affine, change)
        assert torch.allclose(preprocess(item)["image"], plain, atol=1e-3)


@pytest.mark.parametrize("name", ["plain", "flipped", "permuted"])
@pytest.mark.parametrize(("axis", "world"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_slices_lie_along_the_last_axis_and_presence_follows_them(tmp_path, name, axis, world):
    shape, affine = GRIDS[name]
    item, *_ = write(tmp_path, shape, affine)
    recipe = BRAIN | {"axis": axis, "pixdim": [2.0, 2.0, -1.0], "crop": "centre"}
    along = nib.io_orientation(affine)[:, 0].tolist().index(world)
    scan = load_scan(recipe, item | {"presence": [[2, 4], [7, 7]]})
    assert scan.image.shape[-1] == len(scan.present) == shape[along]
    expected = [2, 3, 4, 7]
    if nib.io_orientation(affine)[along, 1] < 0:
        expected = sorted(shape[along] - 1 - z for z in expected)
    assert np.flatnonzero(scan.present).tolist() == expected
    assert load_scan(recipe, item | {"presence": True}).present.all()
    assert not load_scan(recipe, item | {"presence": False}).present.any()
    assert load_scan(recipe, item).present is None
    with refused(f"presence names slice 99, but its slices are 0 to {shape[along] - 1}"):
        load_scan(recipe, item | {"presence": [[3, 99]]})


def test_label_values_become_classes_and_others_are_refused(tmp_path):
    shape, affine = GRIDS["plain"]
    item, *_ = write(tmp_path, shape, affine)
    label = np.zeros(shape, np.int16)
    label[30:36, 30:36, 10:16], label[36:40, 30:36, 10:16], label[30:36, 36:40, 10:16] = 200, 600, 430
    nib.save(nib.Nifti1Image(label, affine), item["label"])
    values = {"labels": ["background", "a", "b"], "label_values": {"a": [200], "b": [600], "background": [430]}}
    out = brain_preprocessing("label", **values)(item)["label"]
    assert np.unique(out).tolist() == [0, 1, 2]
    with refused("unknown label value"):
        brain_preprocessing("label", **values | {"label_values": {"a": [200], "b": [600]}})(item)
    merged = brain_preprocessing("label", labels=["background", "all"], label_values=None)(item)["label"]
    assert merged.sum() == (label > 0).sum()


def test_a_window_for_ct(tmp_path):
    shape, affine = GRIDS["plain"]
    item, data, _ = write(tmp_path, shape, affine)
    rewrite(item, data, affine, lambda image: np.where(image == 0, -1000, image))
    out = brain_preprocessing(foreground="threshold", normalise="window", window=[-100, 300])(item)["image"]
    assert out.min() == -1
    assert out.max() == 1
    clipped = brain_preprocessing(foreground="threshold", window=[250, 350], clip=False)(item)["image"]
    restored = RestoreIntensityd("copy")({"copy": clipped.clone(), "image": clipped})["copy"]
    inside = foreground_mask(clipped)[0]
    assert restored[0, inside].min() > 249
    assert restored[0, inside].max() < 351


def test_the_image_may_be_centred_on_a_point(tmp_path):
    shape, affine = GRIDS["plain"]
    item, *_ = write(tmp_path, shape, affine)
    voxel = np.array([30, 44, 12])
    point = affine[:3, :3] @ voxel + affine[:3, 3]
    out = brain_preprocessing(crop=point.tolist(), image_size=[16, 16, 8], clip=False)(item)["image"]
    assert out.shape == (2, 16, 16, 8)
    middle = out.affine.numpy() @ [7.5, 7.5, 3.5, 1]
    assert np.abs(middle[:3] - point).max() <= 1.5


@pytest.mark.parametrize("fault", [{"axis": "axiall"}, {"foreground": "all"}, {"normalise": "z"}], ids=str)
def test_unknown_rules_are_refused(fault):
    with pytest.raises(ValueError, match="expected"):
        brain_preprocessing(**fault)


def test_images_without_a_grid_are_no_recipe_for_scans():
    with pytest.raises(ValueError, match="slices stretched to an organ, by which whole scans cannot be segmented"):
        brain_preprocessing(pixdim=None)


def test_a_brain_larger_than_the_slice_is_reported(tmp_path, caplog):
    item, *_ = write(tmp_path, *GRIDS["plain"])
    brain_preprocessing(image_size=(72, 40))(item)
    assert "more than the slice size 40" in caplog.text


def test_a_constant_channel_is_refused(tmp_path):
    item, data, _ = write(tmp_path, *GRIDS["plain"])
    nib.save(nib.Nifti1Image((data[..., 0] != 0).astype(np.uint8), GRIDS["plain"][1]), item["image"][1])
    with pytest.raises(RuntimeError) as error:
        brain_preprocessing(image_size=(72, 80))(item)
    assert isinstance(error.value.__cause__, VolumeError)
    assert "constant over the foreground" in str(error.value.__cause__)


def test_real_scans_return_exactly():
    data = Path(os.environ.get("TRANSEG_TEST_DATA", Path(__file__).parents[3] / "shared/data")) / "brats"
    cases = sorted(data.glob("brats_2013_*"))
    if not cases:
        pytest.skip("no real scans here")
    pre = brain_preprocessing(label_keys="label", pixdim=1.0, image_size=(240, 240))
    for case in cases[:2]:
        files = [str(next(case.glob(f"{name}_*.nii.gz"))) for name in ("Flair", "T1c")]
        label = str(case / "OTMultiClass.nii.gz")
        out = pre({"image": files, "label": label, "mask": str(case / "brainmask.nii.gz")})
        out["pred"] = out["label"].clone()
        back, source = invert(pre, out, "pred"), nib.load(label)
        np.testing.assert_array_equal(back.affine.numpy(), source.affine)
        np.testing.assert_array_equal(back[0].numpy() > 0.5, source.get_fdata() > 0.5)


def test_keys_that_begin_like_the_image_are_left_alone(tmp_path):
    """MONAI Label adds "image_path"; MONAI's Spacingd takes it for meta data."""
    item, _, _ = write(tmp_path, *GRIDS["thick"])
    result = brain_preprocessing()({**item, "image_path": "volume.nii.gz"})
    assert result["image_path"] == "volume.nii.gz"
    assert result["image"].pixdim.tolist() == pytest.approx([2, 2, 2])
