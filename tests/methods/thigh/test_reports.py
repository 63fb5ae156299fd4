"""Reports on the grid of the input, of good and of bad segmentations."""

import csv

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Invertd
from transeg.methods.thigh.reports import MeasureLegsd, MuscleCompartmentd
from transeg.transforms.centre import CUT
from transeg.transforms.reports import TrustReportd

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
        assert row["complete"] == "yes"


def test_a_leg_that_is_not_wholly_in_the_image_is_marked(scans, tmp_path, caplog):
    folder, _ = scans
    item = {"case": "edge"}
    for key, name in (("image", "healthy"), ("pred", "healthy_mask")):
        cut = nib.load(folder / f"{name}.nii.gz").slicer[30:]  # the file begins at the right
        nib.save(cut, tmp_path / f"{name}.nii.gz")
        meta = {"filename_or_obj": str(tmp_path / f"{name}.nii.gz")}
        item[key] = MetaTensor(np.asarray(cut.dataobj, np.float32)[None], affine=cut.affine, meta=meta)
    MeasureLegsd("pred", tmp_path)(item)
    pre, whole = preprocessed(folder, "healthy")
    whole["image"].meta[CUT] = True
    whole = Invertd("label", pre, orig_keys="image", nearest_interp=True)(whole)
    MeasureLegsd("label", tmp_path)({**whole, "case": "cropped"})
    found = [(row["case"], row["leg"], row["complete"]) for row in rows(tmp_path / "muscle.csv")]
    assert found == [
        ("edge", "left", "yes"),
        ("edge", "right", "no"),
        ("cropped", "left", "no"),
        ("cropped", "right", "no"),
    ]
    assert "edge: right: cut off by the edge of the image" in caplog.text


def test_fat_segmented_as_muscle_is_noticed(scans, tmp_path, caplog):
    folder, phantom = scans
    mask = (phantom.image > np.percentile(phantom.image, 85)).astype(np.float32)
    scan = MetaTensor(np.zeros((1, 1, 1, 1)), meta={"filename_or_obj": str(folder / "healthy.nii.gz")})
    MeasureLegsd("pred", tmp_path)({"image": scan, "pred": MetaTensor(mask[None], affine=phantom.affine)})
    assert "below the skin" in caplog.text


def test_fat_under_the_skin_may_not_become_muscle(scans, tmp_path):
    folder, _ = scans
    _, item = preprocessed(folder, "severe")
    item["lean"] = item["label"] * (item["image"] < -0.2)
    item = MuscleCompartmentd("lean")(item)
    assert (item["region"] * item["label"]).sum() > 0.8 * item["label"].sum()
    fat = (item["image"] > 0) & (item["region"] == 0)
    item["translation"] = item["image"] - 0.9 * fat
    limits = {"outside": 0.1, "wrong_sign": 0.1, "silhouette": 0.05, "displacement_mm": 6.0, "removed": 0.15}
    TrustReportd("translation", tmp_path, region_key="region", sign=-1, limits={**limits, "scans": 64})(item)
    [row] = rows(tmp_path / "trust.csv")
    assert row["flagged"] == "True"
    assert "100% of the change lies outside the plausible region" in row["sentence"]
