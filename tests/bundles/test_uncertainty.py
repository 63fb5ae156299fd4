"""Every bundle with its released weights: members, maps and tables of uncertainty, and that they are off by default."""

import csv

import numpy as np
import pytest
from monai.bundle import ConfigParser

from .conftest import load_nifti, parser_of, read_config
from .test_workflows import GRIDS, SHAPE, write_volumes

CASE = "oblique"
NOTHING = {"_target_": "Compose", "transforms": []}


@pytest.fixture(scope="module")
def segmented(bundle, tmp_path_factory):
    """Files of a scan, segmented with settings."""
    folder = tmp_path_factory.mktemp("uncertainty")
    scans = write_volumes(folder / "scans", len(read_config(bundle, "inference.json")["recipe"]["channels"]))

    def get(name, **settings):
        config = read_config(bundle, "inference.json")
        if name not in {path.name for path in folder.iterdir()}:
            place = {"dataset_dir": str(scans / f"{CASE}.nii.gz"), "output_dir": str(folder / name)}
            quiet = {"save_reports": False} if "save_reports" in config else {}
            parser = parser_of(bundle, "inference.json", **place, **quiet, **settings)
            parser.get_parsed_content("evaluator").run()
        return {path.name.removeprefix(f"{CASE}_"): path for path in (folder / name).iterdir()}

    return get


def values(path):
    return np.asarray(load_nifti(path).dataobj)


def test_by_default_the_mask_is_that_of_the_parts_without_members(bundle, segmented):
    plain = {"members": NOTHING, "uncertainty": NOTHING}
    if "softmax" in read_config(bundle, "inference.json")["probability"]:  # the largest logit is the mask
        plain["probability"] = NOTHING
    files = segmented("default")
    assert {name for name in files if name.endswith(".nii.gz")} == {"seg.nii.gz"}
    assert "uncertainty.csv" not in files
    mask = values(files["seg.nii.gz"])
    np.testing.assert_array_equal(mask, values(segmented("plain", **plain)["seg.nii.gz"]))
    saving = segmented("saving", save_probability=True, save_uncertainty=True, temperature=2.0)
    np.testing.assert_array_equal(mask, values(saving["seg.nii.gz"]))
    assert saving.keys() >= {"prob.nii.gz", "uncertainty.nii.gz", "uncertainty.csv"}
    assert "disagreement.nii.gz" not in saving


def test_members_and_maps_on_the_grid_of_the_scan(bundle, segmented):
    labels = read_config(bundle, "inference.json")["recipe"]["labels"]
    files = segmented("members", tta=1, ensemble=[str(bundle)], save_probability=True, save_uncertainty=True)
    for name in ("seg", "prob", "uncertainty", "disagreement"):
        image = load_nifti(files[f"{name}.nii.gz"])
        np.testing.assert_allclose(image.affine, GRIDS[CASE], atol=1e-6)
        assert image.shape[:3] == SHAPE
        found = np.asarray(image.dataobj)
        assert found.min() >= 0
        assert found.max() <= (len(labels) - 1 if name == "seg" else 1 + 1e-6)
    probability, uncertainty = (values(files[f"{name}.nii.gz"]) for name in ("prob", "uncertainty"))
    if len(labels) > 2:
        assert probability.shape == (*SHAPE, len(labels))
        np.testing.assert_allclose(probability.sum(-1), 1, atol=1e-5)
    assert uncertainty.any()
    with files["uncertainty.csv"].open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["case"], row["members"]) == (CASE, "4")
    assert 0 < float(row["disagreement"]) <= float(row["entropy"]) <= 1


def test_an_ensemble_with_itself_has_its_own_probabilities(bundle, segmented):
    alone, twice = (
        segmented(name, save_probability=True, **settings)
        for name, settings in {"alone": {}, "twice": {"ensemble": [str(bundle)]}}.items()
    )
    np.testing.assert_array_equal(values(alone["prob.nii.gz"]), values(twice["prob.nii.gz"]))


def test_copies_are_mirrored_as_in_training(bundle):
    train, inference = ConfigParser(), ConfigParser()
    train.read_config(str(bundle / "configs/train.json"))
    inference.read_config(str(bundle / "configs/inference.json"))
    learned = train.get_parsed_content("warp#mirror") if "warp#mirror" in train else []
    assert list(inference.get_parsed_content("members#mirror")) == list(learned)
