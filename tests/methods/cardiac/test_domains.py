"""CT and MR are told apart, with a name or without, whole or cut out of the middle of a heart."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from transeg.errors import ConfigError, VolumeError
from transeg.methods.cardiac.domains import (
    ScaleDomaind,
    check_translation_direction,
    detect_domain,
    detect_modality,
    fill_values,
    translation_limits,
)
from transeg.methods.cardiac.recipe import HEART

from data_prep.phantoms import heart_phantom

DOMAINS = HEART["domains"]
MRI = {"c0": {"scale": "percentiles", "range": [0, 100]}, "lge": {"scale": "window", "range": [10, 30]}}


def volume(voxels, name="study_7.nii.gz"):
    voxels = np.asarray(voxels, np.float32)[None]
    return MetaTensor(torch.from_numpy(voxels), meta={"filename_or_obj": f"/scans/ct_or_mr/{name}"})


@pytest.mark.parametrize("modality", ["ct", "mr"])
@pytest.mark.parametrize("case", range(4))
def test_phantoms_whole_and_without_the_lungs(modality, case):
    phantom = heart_phantom((5, case), modality, (64, 64, 52), 3.0, difficulty=case / 3)
    assert detect_modality(volume(phantom.image)) == modality
    heart = np.argwhere(phantom.label > 0)
    box = tuple(slice(low, high) for low, high in zip(heart.min(axis=0), heart.max(axis=0) + 1, strict=True))
    assert detect_modality(volume(phantom.image[box])) == modality


def test_odd_volumes():
    rng = np.random.default_rng(0)
    no_lung = rng.normal(60, 30, (20, 20, 20))
    no_lung[:, :2] = rng.normal(-100, 20, (20, 2, 20))  # a tenth of fat
    assert detect_modality(volume(no_lung)) == "ct"
    normalised = rng.normal(0, 1, (20, 20, 20))
    assert detect_modality(volume(normalised)) == "mr"
    overshoot = np.abs(rng.normal(0, 200, (20, 20, 20)))
    overshoot[0, 0, :20] = -80.0  # what resampling leaves, 0.25 % of the voxels
    assert detect_modality(volume(overshoot)) == "mr"


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("ct_train_1001_image.nii.gz", "ct"),
        ("CTA-3.nii", "ct"),
        ("ct.nii", "ct"),
        ("MR_1.nii.gz", "mr"),
        ("mri7.nii.gz", "mr"),
    ],
)
def test_the_name_goes_first(name, modality):
    other = -500 if modality == "mr" else 500
    assert detect_modality(volume(np.full((4, 4, 4), other), name)) == modality


@pytest.mark.parametrize("name", ["ctrl_01.nii.gz", "mrs_smith.nii", "patient_mr.nii.gz", "1_ct.nii"])
def test_other_names_tell_nothing(name):
    assert detect_modality(volume(np.full((4, 4, 4), -500), name)) == "ct"
    assert detect_modality(volume(np.full((4, 4, 4), 500), name)) == "mr"


def test_each_is_scaled_by_its_rule():
    ramp = np.linspace(-1000, 1000, 1001).reshape(7, 11, 13)
    for item, modality, middle in (
        ({}, "ct", 1 / 9),  # 0 HU of -100 to 800
        ({"domain": "mr"}, "mr", 0.5),
    ):
        out = ScaleDomaind("image", DOMAINS)({"image": volume(ramp), **item})["image"]
        assert out.meta["domain"] == modality
        assert float(out.flatten()[500]) == pytest.approx(middle, abs=1e-5)
        assert (float(out.min()), float(out.max())) == (0, 1)
    assert ScaleDomaind("image", DOMAINS, "mr")({"image": volume(ramp, "ct_1.nii")})["image"].meta["domain"] == "mr"


def test_no_other_modality():
    with pytest.raises(ConfigError, match='"ct", "mr" or "auto", got \'us\''):
        ScaleDomaind("image", DOMAINS, "us")
    with pytest.raises(VolumeError, match=r"study_7.*must be \"ct\" or \"mr\", got 'us'"):
        ScaleDomaind("image", DOMAINS)({"image": volume(np.ones((4, 4, 4))), "domain": "us"})


def test_an_item_that_says_another_modality_is_refused():
    scan = volume(np.arange(27.0).reshape(3, 3, 3))
    assert ScaleDomaind("image", DOMAINS, "mr")({"image": scan, "domain": "mr"})["image"].meta["domain"] == "mr"
    with pytest.raises(VolumeError, match=r"study_7.*listed as MR, but modality is 'ct'"):
        ScaleDomaind("image", DOMAINS, "ct")({"image": scan, "domain": "mr"})


def test_a_translation_begins_from_one_modality():
    check_translation_direction(modality="ct", target_modality="mr", domains=DOMAINS)  # as the config calls it
    with pytest.raises(ValueError, match='not \'auto\': set modality to "ct" or "mr"'):
        check_translation_direction("auto", "ct", DOMAINS)
    with pytest.raises(ValueError, match="from 'mr' to 'mr'"):
        check_translation_direction("mr", "mr", DOMAINS)


def test_what_looks_like_another_modality_is_told(caplog):
    ScaleDomaind("image", DOMAINS, "mr")({"image": volume(np.full((3, 3, 3), 7) * np.arange(3), "ct_1.nii.gz")})
    assert "ct_1.nii.gz: does not look like MR" in caplog.text
    caplog.clear()
    ScaleDomaind("image", DOMAINS, "ct")({"image": volume(np.full((3, 3, 3), 7) * np.arange(3), "ct_1.nii.gz")})
    assert not caplog.text


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("patient10_LGE.nii.gz", "lge"),
        ("c0-7.nii", "c0"),
        ("c01.nii", None),
        ("c0_to_lge.nii.gz", None),
        ("ct_1.nii.gz", None),
    ],
)
def test_other_domains_are_words_of_the_file_name(name, domain):
    assert detect_domain(volume(np.full((2, 2, 2), -500), name), ["c0", "lge"]) == domain


def test_any_two_domains_are_scaled_by_their_rules():
    ramp = np.arange(41.0).reshape(1, 1, 41)
    scale = ScaleDomaind("image", MRI)
    listed = scale({"image": volume(ramp), "domain": "c0"})["image"]
    named = scale({"image": volume(ramp, "p_lge.nii")})["image"]
    assert (listed.meta["domain"], named.meta["domain"]) == ("c0", "lge")
    np.testing.assert_allclose(listed.flatten(), np.arange(41) / 40, atol=1e-6)
    np.testing.assert_allclose(named.flatten(), ((np.arange(41) - 10) / 20).clip(0, 1), atol=1e-6)
    with pytest.raises(VolumeError, match=r'study_7.*unknown domain; set modality to "c0" or "lge".*_c0.nii.gz'):
        scale({"image": volume(ramp)})
    for name in ("c0", "C0"):
        assert ScaleDomaind("image", MRI, name)({"image": volume(ramp)})["image"].meta["domain"] == "c0"


def test_channels_are_scaled_together():
    two = MetaTensor(torch.stack([torch.arange(8.0), 10 * torch.arange(8.0)]).reshape(2, 2, 2, 2))
    scaled = ScaleDomaind("image", MRI, "c0")({"image": two})["image"]
    torch.testing.assert_close(scaled[0].as_tensor(), scaled[1].as_tensor())
    assert ScaleDomaind("image", MRI, "lge")({"image": two})["image"][1].max() == 1


def test_units_of_translations():
    assert translation_limits(DOMAINS) == {"ct": [-100, 800], "mr": [0, 1000]}
    assert fill_values(DOMAINS) == {"ct": -1000, "mr": 0}
    assert (translation_limits(MRI)["lge"], fill_values(MRI)["lge"]) == ([10, 30], 10)
