import csv

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from transeg.methods.cardiac.reports import MissingRegionsd, RegionChangeReportd


def test_regions_of_a_scan_and_of_its_translation(tmp_path, caplog):
    def volume(values):
        return MetaTensor(values[None], affine=np.diag([2, 2, 5, 1.0]), meta={"filename_or_obj": "heart_image.nii.gz"})

    before = np.zeros((10, 10, 10))
    before[2:6, 2:6, 2:6], before[7:] = 1, 2
    after = before.copy()
    after[2:6, 2:6, 5] = 0  # a quarter of the first region is lost
    item = {"image": volume(before - 1), "source_mask": volume(before), "pred": volume(after)}
    report = RegionChangeReportd("pred", tmp_path, ("LV", "RV", "LA"), min_dice=0.8)
    report(item)
    assert "changed" not in caplog.text
    RegionChangeReportd("pred", tmp_path, ("LV", "RV", "LA"), min_dice=0.9)({**item, "case": "again"})
    assert "again: the translation changed LV (Dice 0.86, -0.3 ml)" in caplog.text
    found = list(csv.DictReader((tmp_path / "regions.csv").open(newline="")))
    assert [(row["case"], row["region"]) for row in found] == [
        (case, region) for case in ("heart_image", "again") for region in ("LV", "RV", "LA")
    ]
    left, right, absent = found[:3]
    assert [float(left[name]) for name in ("source_ml", "translation_ml", "change_ml", "dice")] == pytest.approx(
        [1.28, 0.96, -0.32, 2 * 48 / (48 + 64)], rel=1e-3
    )
    assert (left["complete"], right["complete"]) == ("yes", "no")  # the second reaches the end of the volume
    assert "again: RV only partly in the volume" in caplog.text
    assert (right["dice"], absent["dice"], absent["source_ml"]) == ("1", "nan", "0")


def test_missing_regions_are_told(caplog):
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[0, 0, :2] = 1, 3
    scan = MetaTensor(torch.from_numpy(classes)[None])
    item = {"image": scan, "pred": scan, "case": "p7"}
    MissingRegionsd("pred", ("LV", "RV", "LA", "RA"))(item)
    assert "p7: RV, RA not found" in caplog.text
    caplog.clear()
    MissingRegionsd("pred", ("LV",))(item)
    assert not caplog.text
