"""Tables and pictures for whole cases, on the grids that inference has them on."""

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from transeg.methods.thigh.preprocessing import body_mask
from transeg.transforms.reports import SurroundingsOfd, TrustReportd

from data_prep.phantoms import thigh_phantom
from tests.recipes import thigh_preprocessing


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """The same anatomy severely infiltrated and healthy: an ideal translation."""
    folder = tmp_path_factory.mktemp("scans")
    for grade in ("severe", "healthy"):
        phantom = thigh_phantom((4, 0), (120, 64, 8), (3.2, 3.0, 7.0), grade)
        nib.save(nib.Nifti1Image(phantom.image, phantom.affine), folder / f"{grade}.nii.gz")
        nib.save(nib.Nifti1Image(phantom.mask, phantom.affine), folder / f"{grade}_mask.nii.gz")
    return folder, phantom


def preprocessed(folder, grade):
    pre = thigh_preprocessing(label_keys="label")
    return pre, pre({"image": folder / f"{grade}.nii.gz", "label": folder / f"{grade}_mask.nii.gz"})


def test_trust_of_an_ideal_and_of_a_bad_translation(scans, tmp_path, caplog):
    folder, _ = scans
    _, item = preprocessed(folder, "severe")
    _, ideal = preprocessed(folder, "healthy")
    limits = {"outside": 0.1, "wrong_sign": 0.1, "silhouette": 0.05, "displacement_mm": 6.0, "removed": 0.15}
    report = TrustReportd("translation", tmp_path, region_key="label", sign=-1, limits={**limits, "scans": 64})
    report({**item, "case": "good", "translation": ideal["image"]})
    assert not caplog.text
    bad = ideal["image"] * 1
    bad[:, :96] = -1  # the left leg is gone
    report({**item, "case": "bad", "translation": bad})
    assert "bad: Review this case visually" in caplog.text
    good, worse = rows(tmp_path / "trust.csv")
    assert (good["case"], good["flagged"], worse["flagged"]) == ("good", "False", "True")
    assert float(good["silhouette_dice"]) > 0.98
    assert float(worse["silhouette_dice"]) < 0.8
    picture = np.asarray(Image.open(tmp_path / "good_trust.png")).astype(int)
    green = (picture[..., 1] > picture[..., 0] + 30) & (picture[..., 1] > picture[..., 2] + 30)
    red = (picture[..., 0] > picture[..., 1] + 60) & (picture[..., 2] < 100)
    assert green.sum() > 20 * red[:, -picture.shape[1] // 4 :].sum()


def test_masks_and_a_foreground_of_ones_own(scans, tmp_path):
    folder, _ = scans
    _, item = preprocessed(folder, "severe")
    item["translation"], item["lean"] = item["image"], item["label"] * (item["image"] < -0.2)
    TrustReportd("translation", tmp_path, mask_key="label", source_mask_key="lean", foreground=body_mask)(item)
    [row] = rows(tmp_path / "trust.csv")
    voxel = 2 * 2 * 7 / 1000
    assert float(row["kept_ml"]) == pytest.approx(float(item["lean"].sum()) * voxel, rel=1e-3)
    assert float(row["removed_ml"]) == float(row["changed_ml"]) == 0
    assert float(row["added_ml"]) > 0
    with pytest.raises(ValueError, match="give both"):
        TrustReportd("translation", tmp_path, mask_key="label")


def test_the_surroundings_of_a_mask():
    affine = torch.diag(torch.tensor([2.0, 1.0, 5.0, 1.0]))
    probability = torch.zeros(1, 9, 9, 3)
    probability[0, 4, 4, 1] = 0.9
    item = {"pred": MetaTensor(probability, affine=affine)}
    region = SurroundingsOfd("pred", margin=4.0)(item)["region"]
    assert torch.allclose(region.affine.float(), affine)
    assert np.argwhere(region[0].numpy()).min(0).tolist() == [2, 0, 1]  # 2 voxels of 2 mm, 4 of 1 mm, no slice of 5 mm
    assert np.argwhere(region[0].numpy()).max(0).tolist() == [6, 8, 1]
    assert not region[0, 2, 0, 1]  # in a corner
    assert not SurroundingsOfd("pred", threshold=0.95)(item)["region"].any()  # nothing found: nothing may change
