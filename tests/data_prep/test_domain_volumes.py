"""What holds for any table of cases of two domains, whatever the data set."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from transeg.data.table import Case, read_table
from transeg.errors import UserError

from data_prep.domain_volumes import prepare_domains, split_by_patient

RECIPE = {
    "method": "cardiac",
    "channels": ["t1", "t2"],
    "domains": {"old": {"scale": "percentiles", "range": [0, 100]}, "new": {"scale": "window", "range": [0, 50]}},
    "image_size": [8, 8, 6],
    "pixdim": 2.0,
    "crop": "centre",
    "labels": ["background", "liver"],
    "label_values": {"liver": [7, 9]},
}
WORDS = {"name": "n", "description": "d", "options": {}, "seed": 0}


@pytest.fixture
def cases(tmp_path):
    """A table of six scans with two channels, two of each domain with a label."""
    rng = np.random.default_rng(0)
    for k in range(6):
        for channel in ("t1", "t2", "label"):
            voxels = rng.integers(1, 100, (10, 9, 7))
            voxels = np.where(voxels > 50, 7 + 2 * (k % 2), 0) if channel == "label" else voxels
            nib.save(
                nib.Nifti1Image(voxels.astype(np.int16), np.diag([2, 2, 2, 1])), tmp_path / f"{k}_{channel}.nii.gz"
            )
    rows = [
        f"s{k},{k}_t1.nii.gz,{k}_t2.nii.gz,{f'{k}_label.nii.gz' if k < 4 else ''},{['old', 'NEW'][k % 2]}"
        for k in range(6)
    ]
    (tmp_path / "cases.csv").write_text("\n".join(["case,t1,t2,label,domain", *rows]))
    return read_table(tmp_path / "cases.csv")


def test_a_table_becomes_volumes_of_two_domains(cases, tmp_path):
    roles = {"s0": "training", "s1": "training", "s2": "test", "s3": "validation", "s4": "training"}
    path = prepare_domains(cases, roles, tmp_path / "out", RECIPE, **WORDS)
    content = json.loads(path.read_text())
    assert [(item["case"], "label" in item) for item in content["training_old"]] == [("s0", True), ("s4", False)]
    assert [item["domain"] for item in content["training_new"]] == ["new"]
    assert content["test_old_volumes"] == [
        {"image": ["../2_t1.nii.gz", "../2_t2.nii.gz"], "case": "s2", "label": "../2_label.nii.gz", "domain": "old"}
    ]
    assert content["modality"] == {"0": "t1", "1": "t2"}
    images, labels = (np.load(path.parent / kind / "s1.npy") for kind in ("images", "labels"))
    assert (images.shape, labels.shape) == ((1, 2, 8, 8, 6), (1, 8, 8, 6))
    assert set(np.unique(labels)) == {0, 1}


def test_prepared_again_in_place_but_not_over_another_data_set(cases, tmp_path, capsys):
    roles = {case.name: "training" for case in cases}
    prepare_domains(cases, roles, tmp_path / "out", RECIPE, **WORDS)
    path = prepare_domains(cases[1:], roles, tmp_path / "out", RECIPE, **WORDS)
    assert "replacing the data set in" in capsys.readouterr().out
    assert {file.stem for file in (path.parent / "images").iterdir()} == {case.name for case in cases[1:]}
    before = path.read_text()
    with pytest.raises(UserError, match="out: holds the data set 'n' for cardiac; delete it or choose another --out"):
        prepare_domains(cases, roles, tmp_path / "out", RECIPE, **WORDS | {"name": "m"})
    assert path.read_text() == before


def test_the_recipe_tells_what_the_training_scans_of_each_domain_are_like(cases, tmp_path, caplog):
    more = [replace(case, name=f"{case.name}_{k}") for k in range(3) for case in cases]
    old = {case.name: "training" for case in more if case.domain == "old"}
    new = [case.name for case in more if case.domain == "new"]
    roles = old | {name: "test" if k else "training" for k, name in enumerate(new)}
    path = prepare_domains(more, roles, tmp_path / "out", RECIPE, **WORDS)
    known = json.loads(path.read_text())["recipe"]["familiarity"]
    assert [(domain, reference["scans"]) for domain, reference in known.items()] == [("old", 9)]
    assert "fewer than 8 training scans of NEW" in caplog.text


def test_splits_are_by_patient_and_stratified_by_the_domains_of_a_patient():
    cases = [Case(f"{p}_{d}", patient=str(p), domain=d) for p in range(20) for d in (("a", "b") if p < 10 else ("b",))]
    splits = split_by_patient(cases, 0.2, 0.2, seed=3)
    assert all(splits[f"{p}_a"] == splits[f"{p}_b"] for p in range(10))
    for split, count in (("training", 6), ("validation", 2), ("test", 2)):
        assert sum(splits[f"{p}_a"] == split for p in range(10)) == count


def test_what_cannot_be_trained_on_is_told(cases, tmp_path):
    def prepare(roles, **options):
        return prepare_domains(cases, roles, tmp_path / "out", RECIPE | options, **WORDS)

    with pytest.raises(UserError, match="no training volume of NEW"):
        prepare({"s0": "training", "s1": "test"})
    with pytest.raises(UserError, match="no training volume has a label"):
        prepare({"s4": "training", "s5": "training"})
    with pytest.raises(UserError, match=r"s1, s3, s5: domain is neither old nor newer"):
        prepare({}, domains={"old": RECIPE["domains"]["old"], "newer": RECIPE["domains"]["new"]})
    with pytest.raises(UserError, match=r"no training volume of NEW.*\n  s1: .*unknown label value\(s\): 9"):
        prepare({"s0": "training", "s1": "training"}, label_values={"liver": [7]})
