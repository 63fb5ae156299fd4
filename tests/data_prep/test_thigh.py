import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from transeg.data.datalist import read_datalist
from transeg.data.datasets import UnpairedDataset
from transeg.data.samplers import UnpairedBatchSampler
from transeg.data.volumes import find_volumes
from transeg.errors import CasesFailedError, DataError
from transeg.transforms.preprocessing import load_scan
from transeg.transforms.slices import LoadSliced
from typer.testing import CliRunner

from data_prep.phantoms.__main__ import app
from data_prep.thigh import find_thighs, prepare, read_grades

SMALL = {"pixdim": 4.0, "size": (96, 48)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """16 patients, four of each grade; case i has grade i modulo 4."""
    folder = tmp_path_factory.mktemp("raw") / "thigh"
    options = ["--cases", "16", "--shape", "96,48,8", "--spacing", "4,4,7"]
    assert CliRunner().invoke(app, ["thigh", "--out", str(folder), *options]).exit_code == 0
    return folder


def grade_of(item):
    return int(item["case"][-3:]) % 4


def lists_of(path):
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if isinstance(value, list)}, content["preparation"]


def test_domains_by_grade_and_severe_patients_held_out(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL, test=2, validation=1)
    lists, preparation = lists_of(path)
    counts = {key: len(items) for key, items in lists.items()}
    assert counts["training"] == 8 * 5
    assert counts["training_absence"] == 8 * 8
    assert (counts["validation"], counts["test"], counts["test_absence"]) == (8, 16, 0)
    assert {grade_of(item) for item in lists["training"]} == {2, 3}
    assert {grade_of(item) for item in lists["training_absence"]} == {0, 1}
    assert {grade_of(item) for item in lists["test_volumes"] + lists["validation_volumes"]} == {3}
    cases = [
        {item["case"] for item in lists[key]} for key in ("training_volumes", "validation_volumes", "test_volumes")
    ]
    assert [len(part) for part in cases] == [13, 1, 2]
    assert len(set.union(*cases)) == 16
    assert all("label" in item for key in ("training_volumes", "test_volumes") for item in lists[key])
    assert preparation["groups"]["Phantom_003"] == "severe"


def test_prepared_slices_train(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL)
    presence, absence = (read_datalist(path, key) for key in ("training", "training_absence"))
    dataset = UnpairedDataset(presence, absence, LoadSliced())
    item = dataset[next(iter(UnpairedBatchSampler(dataset, 2)))[0]]
    assert item["image"].shape == item["absence"].shape == item["label"].shape == (1, 96, 48)
    assert item["image"].min() == -1
    assert item["image"].max() <= 1
    assert item["labelled"]
    muscle = item["image"][item["label"] > 0]
    assert -0.9 < muscle.mean() < 0.9
    volumes = find_volumes(path.parent, ["T1w"], "test_volumes")
    assert all(Path(item["image"]).is_file() and Path(item["label"]).is_file() for item in volumes)


def test_the_recipe_repeats_what_the_network_saw(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL)
    recipe = json.loads(path.read_text())["recipe"]
    assert recipe.pop("familiarity")["all"]["scans"] == 13  # those for training
    assert recipe == {
        "method": "thigh",
        "channels": ["T1w"],
        "image_size": [96, 48],
        "pixdim": [4.0, 4.0, -1.0],
        "labels": ["background", "muscle"],
        "hard_grades": ["moderate", "severe"],
        "foreground": "threshold",
        "normalise": "percentiles",
        "min_foreground": 0.05,
    }
    item, volumes = (read_datalist(path, key)[0] for key in ("test", "test_volumes"))
    image = load_scan(recipe, volumes).image[..., item["z"]]
    np.testing.assert_array_equal(np.load(item["image"])[item["index"]], image.astype(np.float16))


def test_a_number_of_scans_keeps_the_mask(raw, tmp_path):
    _, preparation = lists_of(prepare(raw, tmp_path / "a", **SMALL, labelled_count=2))
    assert len(preparation["labelled_cases"]) == 2
    _, preparation = lists_of(prepare(raw, tmp_path / "b", **SMALL, labelled_cases="Phantom_000, Phantom_002"))
    assert preparation["labelled_cases"] == ["Phantom_000", "Phantom_002"]


def test_transductive_trains_on_what_it_tests_without_labels(raw, tmp_path):
    lists, _ = lists_of(prepare(raw, tmp_path, **SMALL, transductive=True))
    assert len(lists["test_volumes"]) == 4
    assert len(lists["training"]) == 8 * 8
    severe = [item for item in lists["training"] if grade_of(item) == 3]
    assert len(severe) == 4 * 8
    assert not any("label" in item for item in severe)
    assert all("label" in item for item in lists["training"] if grade_of(item) == 2)
    assert not lists["validation_volumes"]


def test_masks_are_optional(raw, tmp_path):
    bare = tmp_path / "bare"
    for file in raw.rglob("Phantom_0??.nii.gz"):
        target = bare / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    lists, preparation = lists_of(prepare(bare, tmp_path / "out", **SMALL))
    assert not (tmp_path / "out" / "labels").exists()
    assert not any("label" in item for items in lists.values() for item in items)
    assert preparation["labelled_cases"] == []


def test_grades_from_a_table(raw, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in raw.rglob("Phantom_0??*.nii.gz"):
        (flat / file.name).symlink_to(file)
    table = tmp_path / "grades.csv"
    rows = [f"Phantom_{i:03d},{('Healthy', 'minor', 'moderate', 'severe')[i % 4]},p{i // 2}" for i in range(15)]
    table.write_text("case,grade,patient\n" + "\n".join(rows))
    with pytest.raises(CasesFailedError, match=r"1 of 1\d cases failed(?s:.*)Phantom_015.nii.gz: no grade"):
        prepare(flat, tmp_path / "out", grades=table, **SMALL, test=1, validation=0)
    lists, _ = lists_of(tmp_path / "out" / "datalist.json")
    [test] = lists["test_volumes"]
    other = f"Phantom_{int(test['case'][-3:]) - 1:03d}"  # the moderate scan of the same patient
    assert other not in {item["case"] for items in lists.values() for item in items}


def test_what_a_user_gets_wrong(raw, tmp_path):
    with pytest.raises(DataError, match="no scan"):
        find_thighs(tmp_path)
    table = tmp_path / "grades.csv"
    table.write_text("case,grade\na,grave\n")
    with pytest.raises(ValueError, match="line 2"):
        read_grades(table)
    table.write_text("case,grade\nPhantom_099,severe\n")
    with pytest.raises(DataError, match="Phantom_099"):
        prepare(raw, tmp_path / "out", grades=table)
    with pytest.raises(ValueError, match="--hard: unknown grave"):
        prepare(raw, tmp_path / "out", hard="grave")
    nib.save(nib.Nifti1Image(np.ones((8, 8, 2)), np.eye(4)), tmp_path / "a.nii.gz")
    assert "no grade" in find_thighs(tmp_path)[0].problem
