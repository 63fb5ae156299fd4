"""Results are written whole, under the name of the case, on the grid that they carry."""

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch import nn
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing
from transeg.methods.cardiac.recipe import HEART
from transeg.transforms.brain import brain_preprocessing
from transeg.transforms.outputs import SaveVolumed, Translated, translation_output, write_nifti

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


def test_a_file_that_fails_half_way_is_not_left_behind(tmp_path, monkeypatch):
    def broken(image, path):
        with open(path, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", broken)
    with pytest.raises(OSError, match="disk full"):
        write_nifti(tmp_path / "a.nii.gz", volume(), AFFINE)
    assert not list(tmp_path.iterdir())


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
    pre = brain_preprocessing(channels=2, size=(24, 24), clip=False)
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
