"""Tables and pictures for whole cases, on the grids that inference has them on."""

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Invertd
from PIL import Image
from transeg.methods.cardiac.reports import MissingRegionsd, RegionChangeReportd
from transeg.methods.thigh.preprocessing import body_mask, thigh_preprocessing
from transeg.methods.thigh.reports import MeasureLegsd, MuscleCompartmentd
from transeg.transforms.reports import TrustReportd

from data_prep.phantoms import thigh_phantom


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


def test_legs_are_measured_on_the_input(scans, tmp_path):
    folder, phantom = scans
    pre, item = preprocessed(folder, "healthy")
    item["pred"] = item["label"].clone()
    item = Invertd("pred", pre, orig_keys="image", nearest_interp=True)(item)
    for _ in range(2):  # again: the rows are replaced
        MeasureLegsd("pred", tmp_path)(item)
    found = rows(tmp_path / "muscle.csv")
    assert [(row["case"], row["leg"]) for row in found] == [("healthy", "left"), ("healthy", "right")]
    halves = np.split(phantom.mask, 2, axis=0)[::-1]  # the file begins at the right
    for row, half in zip(found, halves, strict=True):
        assert float(row["muscle_ml"]) == pytest.approx(half.sum() * 3.2 * 3 * 7 / 1000, rel=0.06)
        assert float(row["fat_fraction"]) < 0.08


def test_fat_segmented_as_muscle_is_noticed(scans, tmp_path, caplog):
    folder, phantom = scans
    mask = (phantom.image > np.percentile(phantom.image, 85)).astype(np.float32)
    scan = MetaTensor(np.zeros((1, 1, 1, 1)), meta={"filename_or_obj": str(folder / "healthy.nii.gz")})
    MeasureLegsd("pred", tmp_path)({"image": scan, "pred": MetaTensor(mask[None], affine=phantom.affine)})
    assert "below the skin" in caplog.text


def test_trust_of_an_ideal_and_of_a_bad_translation(scans, tmp_path, caplog):
    folder, _ = scans
    _, item = preprocessed(folder, "severe")
    _, ideal = preprocessed(folder, "healthy")
    report = TrustReportd("translation", tmp_path, region_key="label", sign=-1)
    report({**item, "case": "good", "translation": ideal["image"]})
    assert not caplog.text
    bad = ideal["image"] * 1
    bad[:, :96] = -1  # the left leg is gone
    report({**item, "case": "bad", "translation": bad})
    assert "bad: Check this case by eye" in caplog.text
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


def test_fat_under_the_skin_may_not_become_muscle(scans, tmp_path):
    folder, _ = scans
    _, item = preprocessed(folder, "severe")
    item["lean"] = item["label"] * (item["image"] < -0.2)
    item = MuscleCompartmentd("lean")(item)
    assert (item["region"] * item["label"]).sum() > 0.8 * item["label"].sum()
    fat = (item["image"] > 0) & (item["region"] == 0)
    item["translation"] = item["image"] - 0.9 * fat
    TrustReportd("translation", tmp_path, region_key="region", sign=-1)(item)
    [row] = rows(tmp_path / "trust.csv")
    assert row["flagged"] == "True"
    assert "100% of the change lies outside the plausible region" in row["sentence"]


def test_regions_of_a_scan_and_of_its_translation(tmp_path, caplog):
    def volume(values):
        return MetaTensor(values[None], affine=np.diag([2, 2, 5, 1.0]), meta={"filename_or_obj": "heart_image.nii.gz"})

    before = np.zeros((10, 10, 10))
    before[2:6, 2:6, 2:6], before[7:] = 1, 2
    after = before.copy()
    after[2:6, 2:6, 5] = 0  # a quarter of the first region is lost
    item = {"image": volume(before - 1), "source_mask": volume(before), "pred": volume(after)}
    report = RegionChangeReportd("pred", tmp_path, ("LV", "RV", "LA"), least_dice=0.8)
    report(item)
    assert not caplog.text
    RegionChangeReportd("pred", tmp_path, ("LV", "RV", "LA"), least_dice=0.9)({**item, "case": "again"})
    assert "again: the translation changed LV (Dice 0.86, -0.3 ml)" in caplog.text
    found = rows(tmp_path / "regions.csv")
    assert [(row["case"], row["region"]) for row in found] == [
        (case, region) for case in ("heart_image", "again") for region in ("LV", "RV", "LA")
    ]
    left, right, absent = found[:3]
    assert [float(left[name]) for name in ("source_ml", "translation_ml", "change_ml", "dice")] == pytest.approx(
        [1.28, 0.96, -0.32, 2 * 48 / (48 + 64)], rel=1e-3
    )
    assert (right["dice"], absent["dice"], absent["source_ml"]) == ("1", "nan", "0")


def test_missing_regions_are_told(caplog):
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[0, 0, :2] = 1, 3
    scan = MetaTensor(torch.from_numpy(classes)[None])
    item = {"image": scan, "pred": scan, "case": "p7"}
    MissingRegionsd("pred", ("LV", "RV", "LA", "RA"))(item)
    assert "p7: no RV, RA is found" in caplog.text
    caplog.clear()
    MissingRegionsd("pred", ("LV",))(item)
    assert not caplog.text
