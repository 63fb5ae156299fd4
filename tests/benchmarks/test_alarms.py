"""Planted faults do what they say, and alarms are counted from what a segmentation wrote."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from benchmarks import faults
from benchmarks.alarms import OF_TRANSLATIONS, THIGH, Kind, alarms_of, count_alarms, phantoms, planted, repeat
from benchmarks.faults import PlantBalld, Scan
from benchmarks.lgg import GENSEG, PATHOGAN


@pytest.fixture
def scan():
    """A block of tissue with a gradient in air; two channels."""
    voxels = np.zeros((2, 16, 12, 9), np.float32)
    voxels[:, 4:12, 3:9, 1:8] = 100 + np.arange(7)
    voxels[1] *= 2
    return Scan("a", voxels, np.diag([2.0, 2.0, 5.0, 1.0]))


def test_faults_of_scans(scan):
    body = scan.voxels[0] > 0
    assert np.allclose(faults.centimetres(scan).affine, np.diag([0.2, 0.2, 0.5, 1]))
    assert np.array_equal(faults.unsigned(scan).voxels - 1024, scan.voxels)
    assert np.array_equal(faults.other_order(scan).voxels[0], scan.voxels[1])
    assert np.array_equal(faults.upside_down(scan).voxels[..., 0], scan.voxels[..., 8])
    assert faults.cropped(scan).voxels.shape == (2, 8, 12, 9)
    assert np.array_equal(faults.missing_slices(scan).voxels, scan.voxels[..., [0, 1, 2, 6, 7, 8]])
    negative = faults.negative(scan).voxels
    assert (negative[:, ~body] == 0).all(), "air stays dark"
    assert np.corrcoef(negative[0][body], scan.voxels[0][body])[0, 1] < -0.99
    biased = faults.bias_field(scan).voxels[0]
    assert biased[11].mean() / biased[4].mean() == pytest.approx(5 ** (7 / 15), rel=1e-3)


def test_a_ghost_lies_half_a_field_of_view_away(scan):
    ghosted = faults.ghosting(scan).voxels[0]
    shifted = np.roll(scan.voxels[0], 6, axis=1)
    assert np.allclose(ghosted, np.abs(0.83 * scan.voxels[0] - 0.17 * shifted), atol=1e-3)


def test_noise_is_of_a_third_of_the_range_and_the_same_every_time(scan):
    noisy = faults.noise(scan).voxels
    assert np.std(noisy - scan.voxels) == pytest.approx(np.ptp(np.percentile(scan.voxels, (1, 99))) / 3, rel=0.05)
    assert np.array_equal(noisy, faults.noise(scan).voxels)


@pytest.mark.parametrize("erased", [False, True])
def test_a_ball_in_a_translation(scan, erased):
    image = MetaTensor(torch.from_numpy(scan.voxels[:1]), affine=torch.from_numpy(scan.affine))
    item = {"image": image, "translation": image.clone()}
    changed = PlantBalld("translation", radius=6, erased=erased)(item)["translation"] - image
    inside = image[0] > 0
    assert (changed[0][~inside] == 0).all()
    assert 0 < (changed != 0).sum() < inside.sum()
    assert (item["translation"] == image).all(), "a copy"
    if erased:
        assert ((changed == 0) | (changed == -image)).all()


def test_alarms_in_a_manifest():
    told = "a: does not resemble the 30 training scans", "a: left: cut off by the edge of the image", "a: odd"
    assert alarms_of({"warnings": list(told)}) == {"unfamiliar", "cut off", "other"}
    assert alarms_of({"failed": "a: unreadable"}) == {"refused"}
    assert alarms_of({}) == set()


def test_a_ball_is_planted_before_the_judgement_of_those_that_judge():
    for bundle, judges in ((GENSEG, False), (PATHOGAN, True), (THIGH, True)):
        for erased in OF_TRANSLATIONS.values():
            settings = planted(bundle, erased)
            assert bool(settings) is judges
            if judges:
                targets = [
                    step if isinstance(step, str) else step["_target_"]
                    for step in settings["postprocessing#transforms"]
                ]
                ball, judge = (
                    next(k for k, t in enumerate(targets) if name in t) for name in ("PlantBalld", "TrustReportd")
                )
                assert ball < judge


def test_alarms_are_counted_from_what_is_written(tmp_path):
    """A thigh that is fine, the same in centimetres, and one that cannot be segmented."""
    kind = Kind(THIGH, "thigh", ("*/Phantom_???.nii.gz",))
    [own] = phantoms(tmp_path / "phantoms", kind, 1)
    scans = [own, faults.centimetres(Scan("small", own.voxels, own.affine)), Scan("empty", own.voxels * 0, own.affine)]
    found = count_alarms(kind, tmp_path / "work", scans, {})
    assert (found["n"], found["alarms"], found["share"]) == (3, 2, pytest.approx(2 / 3, abs=1e-3))
    assert found["kinds"]["unfamiliar"] == 1
    assert found["kinds"]["refused"] == 1
    low, high = found["interval"]
    assert low == pytest.approx(0.094, abs=0.01)
    assert high == pytest.approx(0.992, abs=0.01)


def test_one_channel_for_several(scan):
    one = Scan("a", scan.voxels[:1], scan.affine)
    assert repeat(one, 1) is not scan
    three = repeat(one, 3).voxels
    assert three.shape == (3, 16, 12, 9)
    assert len({channel.mean().item() for channel in three}) == 3
