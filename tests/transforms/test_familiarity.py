"""Scans like those of the training pass, others are told with what sets them apart."""

import csv

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from transeg.transforms.familiarity import (
    CheckFamiliard,
    familiarity_distance,
    feature_names,
    fit_reference,
    fit_references,
    scan_features,
)
from transeg.transforms.intensity import NormaliseForegroundd

CHANNELS = ("T1", "T2")


def scan(seed, size=12, channels=2, noise=0.3, same=False):
    """A brain of about `size` voxels of 2 x 2 x 5 mm on a background of 0."""
    rng = np.random.default_rng(seed)
    size += int(rng.integers(0, 2))
    voxels = np.zeros((channels, 20, 20, 10), np.float32)
    inside = rng.normal(1, noise, (channels, size, size, 6)) + np.linspace(0, 1, size)[:, None, None]
    voxels[:, 2 : 2 + size, 3 : 3 + size, 2:8] = inside[:1] if same else inside
    image = MetaTensor(torch.from_numpy(voxels), affine=np.diag([2, 2, 5, 1.0]), meta={"filename_or_obj": "a.nii"})
    return NormaliseForegroundd("image", num_std=3)({"image": image})["image"]


def test_features_by_hand():
    image = torch.full((2, 6, 5, 4), -1.0)
    image[0, 1:5, 1:3, 1:3] = torch.tensor([-0.5, 0.0, 0.5, 9.0])[:, None, None]  # the last is clipped to 1
    image[1, 1:5, 1:3, 1:3] = torch.tensor([0.5, 0.0, -0.5, -1.0])[:, None, None]
    meta = {"intensity_background": torch.tensor([-1.0, -1.0])}
    values = scan_features(MetaTensor(image, affine=np.diag([2, 3, 5, 1.0]), meta=meta))
    found = dict(zip(feature_names(CHANNELS), values, strict=True))
    assert np.exp([found[f"size of the foreground along {axis}"] for axis in "XYZ"]) == pytest.approx([8, 6, 10])
    assert found["shape of the foreground"] == 1
    assert [found[f"balance of the foreground along {axis}"] for axis in "XYZ"] == [0, 0, 0]
    assert [found[f"trend of the intensity along {axis}"] for axis in "YZ"] == [0, 0]
    assert found["T1 intensity (50 % quantile)"] == pytest.approx(0.25)
    assert found["T2 intensity (95 % quantile)"] == pytest.approx(0.5)
    assert found["T1 texture"] == pytest.approx((0.5 + 0) / 2)  # steps of 0.5 along X, none along Y
    assert found["T2 texture"] == pytest.approx(0.25)
    assert found["similarity of T1 and T2"] == pytest.approx(-1)


def test_the_body_is_the_foreground_of_a_scan_without_a_recorded_background():
    image = torch.full((1, 20, 20, 3), -1.0)
    image[:, 4:14, 5:11] = 0.5
    sizes = np.exp(scan_features(MetaTensor(image, affine=torch.eye(4)))[:3])
    assert sizes.round().tolist() == [12, 8, 3]  # one voxel more at either side, as slices are smoothed
    assert np.isfinite(scan_features(MetaTensor(torch.full((1, 4, 4, 1), -1.0), affine=torch.eye(4)))).all()


def test_a_foreground_that_leans_to_one_side_by_hand():
    image = torch.full((1, 5, 4, 3), -1.0)
    image[:, 1:4, 1, 1] = torch.tensor([0.1, 0.2, 0.3])  # along X
    image[:, 1, 2, 1] = 0.1
    meta = {"intensity_background": torch.tensor([-1.0])}
    found = dict(zip(feature_names(["T1"]), scan_features(MetaTensor(image, meta=meta)), strict=True))
    along_x = np.array([-1, 0, 1, -1]) / 3
    assert found["balance of the foreground along X"] == pytest.approx(along_x.mean())
    assert found["balance of the foreground along Y"] == pytest.approx((-0.25 * 3 + 0.25) / 4)
    assert found["balance of the foreground along Z"] == 0
    assert found["trend of the intensity along X"] == pytest.approx(np.corrcoef(along_x, [0.1, 0.2, 0.3, 0.1])[0, 1])
    assert found["trend of the intensity along Z"] == 0


def test_reference_and_distance_by_hand():
    """Eleven scans 0 to 10: the central 80 % are 1 to 9; two features of sizes are constant."""
    features = np.zeros((11, 4))
    features[:, 3] = np.arange(11)
    reference = fit_reference(features)
    assert reference["scans"] == 11
    assert reference["centre"] == [0, 0, 0, 5]
    assert reference["spread"] == [0.1, 0.1, 0.1, pytest.approx(8 / 2.563, abs=1e-3)]
    assert len(reference["correlation"]) == 4 + 3 + 2 + 1
    plain = {name: value for name, value in reference.items() if name != "correlation"}
    distance, deviations = familiarity_distance(np.array([0.3, 0, 0, 5 + 2 * 8 / 2.563]), plain)
    assert deviations.tolist() == pytest.approx([3, 0, 0, 2], abs=1e-3)
    assert distance == pytest.approx(np.sqrt((9 + 4) / 4), abs=1e-3)
    pair = {"centre": [0, 0], "spread": [1, 1], "correlation": [1, 0.6, 1]}  # inverse: [[1, -0.6], [-0.6, 1]] / 0.64
    assert familiarity_distance(np.array([1.0, 1.0]), pair)[0] == pytest.approx(np.sqrt(0.8 / 0.64 / 2))
    assert familiarity_distance(np.array([1.0, -1.0]), pair)[0] == pytest.approx(np.sqrt(3.2 / 0.64 / 2))


def test_the_limit_is_what_nearly_all_scans_keep_when_compared_with_the_others():
    features = np.random.default_rng(0).normal(size=(600, 6))
    reference = fit_reference(features[:100])
    told = [familiarity_distance(values, reference)[0] > reference["limit"] for values in features[100:]]
    assert 0 < np.mean(told) <= 0.05


def test_few_scans_are_no_reference():
    features = list(np.random.default_rng(0).normal(size=(17, 5)))
    assert fit_references(features, ["ct"] * 7 + ["mr"] * 10).keys() == {"mr"}


def test_false_alarms_are_rare_and_others_are_told(tmp_path, caplog):
    references = fit_references([scan_features(scan(seed)) for seed in range(30)], ["all"] * 30)
    check = CheckFamiliard("image", references, CHANNELS, tmp_path)
    for seed in range(100, 160):
        check({"image": scan(seed), "case": f"p{seed}"})
    with (tmp_path / "familiarity.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert sum(row["familiar"] == "no" for row in rows) <= 2
    caplog.clear()
    others = {"smaller": scan(0, size=4), "smooth": scan(0, noise=0.02), "one contrast twice": scan(0, same=True)}
    for case, image in others.items():
        check({"image": image, "case": case})
        assert f"{case}: does not resemble the 30 training scans" in caplog.text
    assert "mostly in its similarity of T1 and T2" in caplog.text
    assert "skull must be on or off" in caplog.text
    with (tmp_path / "familiarity.csv").open(newline="") as file:
        assert [row["familiar"] for row in csv.DictReader(file)][-3:] == ["no"] * 3


def test_a_copy_in_place_of_a_missing_sequence_is_told(tmp_path, caplog):
    same = [scan(seed, same=True) for seed in range(100, 110)]
    references = fit_references([scan_features(image) for image in same], ["all"] * 10)  # they had copies as well
    CheckFamiliard("image", references, CHANNELS, tmp_path)({"image": same[0], "case": "copied"})
    assert "copied: T1 = T2: the same image twice" in caplog.text
    with (tmp_path / "familiarity.csv").open(newline="") as file:
        assert [(row["familiar"], row["differs_in"]) for row in csv.DictReader(file)] == [("no", "T1 = T2")]
    caplog.clear()
    CheckFamiliard("image", {}, CHANNELS, tmp_path)({"image": same[1], "case": "unknown"})
    assert "unknown: T1 = T2" in caplog.text
    CheckFamiliard("image", {}, CHANNELS, tmp_path)({"image": scan(0), "case": "two"})
    assert "two:" not in caplog.text


def test_a_domain_has_its_own_reference(tmp_path):
    references = fit_references([scan_features(scan(seed)) for seed in range(10)], ["mr"] * 10)
    check = CheckFamiliard("image", references, CHANNELS, tmp_path)
    image = scan(0)
    check({"image": image, "case": "unknown"})
    assert not list(tmp_path.iterdir())
    image.meta["domain"] = "mr"
    CheckFamiliard("image", references, ("T1",), tmp_path)({"image": image[:1], "case": "other channels"})
    assert not list(tmp_path.iterdir())
    check({"image": image, "case": "known"})
    assert (tmp_path / "familiarity.csv").is_file()
