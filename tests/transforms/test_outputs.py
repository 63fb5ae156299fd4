"""Results are written whole, under the name of the case, on the grid that they carry."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.inferers import SimpleInferer
from monai.transforms import Invertd
from torch import nn
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing
from transeg.methods.cardiac.recipe import HEART
from transeg.transforms.outputs import EmptySlicesd, SaveVolumed, Translated, translation_output, write_nifti

from tests.recipes import brain_preprocessing

AFFINE = np.array([[0.0, -2, 0, 5], [1.5, 0, 0.1, -7], [0, 0.1, 4, 3], [0, 0, 0, 1]])


def volume(channels=1, shape=(4, 5, 1)):
    data = torch.arange(channels * np.prod(shape), dtype=torch.float32).reshape(channels, *shape)
    return MetaTensor(data, affine=torch.as_tensor(AFFINE), meta={"filename_or_obj": "/in/scan.nii.gz"})


def test_case_name_affine_and_type(tmp_path):
    SaveVolumed("pred", tmp_path / "new", "seg", dtype=np.uint8)({"pred": volume(), "case": "p1"})
    image = nib.load(tmp_path / "new/p1_seg.nii.gz")
    assert image.shape == (4, 5, 1)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume()[0].numpy())


def test_channels_are_written_last_and_files_name_cases(tmp_path):
    SaveVolumed("pred", tmp_path, "translation")({"pred": volume(3)})
    image = nib.load(tmp_path / "scan_translation.nii.gz")
    np.testing.assert_array_equal(image.get_fdata(), volume(3).numpy().transpose(1, 2, 3, 0))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_slices_with_little_inside_are_emptied(order):
    """In whatever order the axes are stored; pixels of 2 x 3 mm, of slices of 5 mm."""
    mask = np.zeros((4, 4, 3), np.float32)
    mask[:2, :2, 0], mask[:2, :3, 1], mask[0, 0, 2] = 1, 1, 1  # 24, 36 and 6 mm^2
    stored, affine = mask.transpose(order), np.diag([2.0, 3.0, 5.0, 1])[:, [*order, 3]]
    item = {"pred": MetaTensor(stored[None].copy(), affine=torch.as_tensor(affine))}
    for least, kept in ((0, [4, 6, 1]), (6, [4, 6, 0]), (24, [0, 6, 0]), (36, [0, 0, 0])):
        found = EmptySlicesd(least, {})(item)["pred"][0].numpy()
        assert found.sum(axis=tuple({0, 1, 2} - {order.index(2)})).tolist() == kept
    assert item["pred"].sum() == 11


def test_a_file_that_fails_half_way_is_not_left_behind(tmp_path, monkeypatch):
    def broken(image, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        write_nifti(tmp_path / "a.nii.gz", volume(), AFFINE)
    assert not list(tmp_path.iterdir())


def test_results_name_their_origin(tmp_path):
    SaveVolumed("pred", tmp_path, "seg")({"pred": volume(), "case": "p1"})
    assert nib.load(tmp_path / "p1_seg.nii.gz").header["descrip"] == b"transeg seg"


FAR = np.diag([-2.0, 2, 2, 1]) + np.eye(4, k=3) * 9


@pytest.mark.parametrize("codes", [(1, 0), (0, 2), (2, 1), (4, 3)])
@pytest.mark.parametrize("pixdim", [None, 1.0])
def test_results_on_the_grid_of_the_scan_have_both_its_affines(tmp_path, codes, pixdim):
    affine = np.diag([-2.0, 2, 2, 1])
    scan = nib.Nifti1Image(np.random.default_rng(0).uniform(1, 9, (16, 14, 12)).astype(np.float32), None)
    scan.set_sform(affine, codes[0])
    scan.set_qform(FAR if all(codes) else affine, codes[1])
    if pixdim is not None and codes[0] and not codes[1]:
        scan.header["pixdim"][1:4] = pixdim
    nib.save(scan, tmp_path / "ct.nii.gz")
    scan = nib.load(tmp_path / "ct.nii.gz")
    pre = cardiac_preprocessing(HEART | {"pixdim": 4.0, "image_size": (6, 6, 6)}, modality="ct", centre=(-15, 14, 12))
    data = Dataset([{"image": str(tmp_path / "ct.nii.gz"), "case": "a"}], pre)
    (item,) = decollate_batch(next(iter(DataLoader(data, batch_size=1))))  # as in inference
    item["pred"] = item["image"] > 0
    item = Invertd("pred", pre, orig_keys="image", nearest_interp=True)(item)
    SaveVolumed("pred", tmp_path, "seg", np.uint8)(item)
    mask = nib.load(tmp_path / "a_seg.nii.gz")
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-6)
    np.testing.assert_array_equal([int(mask.header[f"{form}_code"]) for form in ("sform", "qform")], codes)
    np.testing.assert_allclose(mask.header.get_zooms(), (2, 2, 2), rtol=1e-6)
    if codes[1]:
        np.testing.assert_allclose(mask.get_qform(), scan.get_qform(), atol=1e-6)


def test_results_on_another_grid_have_one_affine(tmp_path):
    meta = {"sform": FAR, "qform": FAR, "sform_code": 4, "qform_code": 4, "original_affine": FAR}
    write_nifti(tmp_path / "a.nii.gz", volume(), AFFINE, meta=meta)
    found = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(found.affine, AFFINE, atol=1e-6)
    assert (int(found.header["sform_code"]), int(found.header["qform_code"])) == (1, 1)


class Halved(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def translate(self, image):
        return self.drop(image) / 2


def test_a_translation_is_made_in_evaluation_mode():
    network = Halved().train()
    item = {"image": volume(2)}
    out = Translated("image", network, SimpleInferer())(item)
    torch.testing.assert_close(out["translation"].as_tensor(), volume(2).as_tensor() / 2)
    assert network.training


def test_a_translation_is_written_in_the_units_and_on_the_grid_of_the_input(tmp_path):
    rng = np.random.default_rng(0)
    brain = np.zeros((20, 24, 6))
    brain[4:17, 3:20] = 1
    files = []
    for number in range(2):
        data = (brain * rng.normal(200 + 300 * number, 20, brain.shape)).astype(np.float32)
        files.append(str(tmp_path / f"{number}.nii.gz"))
        nib.save(nib.Nifti1Image(data, np.diag([-2.0, 2, 2, 1])), files[-1])
    pre = brain_preprocessing(image_size=(24, 24), clip=False)
    item = pre({"image": files, "case": "c"})
    translation_output(Halved(), SimpleInferer(), pre, tmp_path)(item)
    found = nib.load(tmp_path / "c_translation.nii.gz")
    np.testing.assert_array_equal(found.affine, np.diag([-2.0, 2, 2, 1]))
    for number, file in enumerate(files):
        source = nib.load(file).get_fdata()
        mean = source[brain > 0].mean()
        expected = (mean + (source - mean) / 2) * brain  # half of the deviation from the mean
        np.testing.assert_allclose(found.get_fdata()[..., number], expected, atol=1e-2)


class Blends(nn.Module):
    """Translates to either of two modalities."""

    def translate(self, image, to):
        return {"ct": image, "mr": -image}[to]


def test_another_modality_has_its_own_units_and_surroundings(tmp_path):
    ramp = np.linspace(0, 500, 16**3).reshape(16, 16, 16).astype(np.float32)
    nib.save(nib.Nifti1Image(ramp, np.diag([-1.0, 1, 1, 1])), tmp_path / "scan.nii.gz")
    recipe = HEART | {"pixdim": 1.0, "image_size": (8, 10, 12)}
    pre = cardiac_preprocessing(recipe, modality="mr", centre=(-7.5, 7.5, 7.5))
    for to, limits, fill in (("ct", (-100, 800), -1000), ("mr", (0, 10), -3)):
        item = pre({"image": tmp_path / "scan.nii.gz", "case": "a"})
        options = {"postfix": to, "arguments": [to], "limits": limits, "fill_value": fill}
        translated = Translated("image", Blends(), SimpleInferer(), arguments=[to])(item)
        translation_output(None, None, pre, tmp_path, precomputed_key="translation", **options)(translated)
        found, inside = nib.load(tmp_path / f"a_{to}.nii.gz").get_fdata(), np.zeros(ramp.shape, bool)
        inside[4:12, 3:13, 2:14] = True
        low, high = np.percentile(ramp, (0.5, 99.5))
        share = ((ramp - low) / (high - low)).clip(0, 1)
        expected = limits[0] + (limits[1] - limits[0]) * (share if to == "ct" else 1 - share)
        np.testing.assert_allclose(found[inside], expected[inside], atol=0.01)
        np.testing.assert_array_equal(found[~inside], fill)
