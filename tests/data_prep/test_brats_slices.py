import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from transeg.data.datalist import read_datalist
from transeg.transforms.preprocessing import load_scan

from data_prep import brats_volumes
from data_prep.brats_slices import prepare, split_slices
from data_prep.cases import run_command

# at 2 mm: slices 2 to 7, all of them brain, of which 3 to 5 show the tumour
SMALL = {"pixdim": 2.0, "size": (32, 32), "first": 4, "last": 14}
LISTS = [split + kind for split in ("training", "validation", "test") for kind in ("", "_absence", "_volumes")]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for number in range(5):
        write_case(folder / "HGG" / f"case_{number}", number)
    return folder


def write_case(folder, seed):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    brain, label = np.zeros((28, 28, 10)), np.zeros((28, 28, 10), np.uint8)
    brain[2:26, 4:24, 1:9] = 1
    label[16:22, 8:14, 3:6] = 4
    for name in ("flair", "t1ce", "t1", "t2", "seg"):
        image = label if name == "seg" else (brain * rng.normal(100, 10, brain.shape) + 30 * label).astype(np.int16)
        nib.Nifti1Image(image, np.diag([-2.0, -2, 2, 1])).to_filename(folder / f"{folder.name}_{name}.nii.gz")


def read_lists(path):
    return {key: read_datalist(path, key) for key in LISTS}


def places(items):
    return {(item["case"], item["z"]) for item in items}


@pytest.mark.parametrize("split", ["patients", "slices"])
def test_training_never_sees_a_label(raw, tmp_path, split):
    path = prepare(raw, tmp_path, **SMALL, validation=1, test=1, split=split)
    content = json.loads(path.read_text())
    for key in ("training", "training_absence", "training_volumes"):
        assert content[key]
        assert not [item for item in content[key] if "label" in item]
        assert "labels/" not in json.dumps(content[key])
        assert "_seg" not in json.dumps(content[key])
    assert content["preparation"]["labelled_cases"] == []
    lists = read_lists(path)
    assert all("label" in item for key in ("validation", "test") for item in lists[key])
    stack = np.load(lists["test"][0]["label"])
    assert all(stack[item["index"]].sum() == 36 for item in lists["test"] if item["label"] == lists["test"][0]["label"])


def test_patients_are_in_one_split(raw, tmp_path, capsys):
    lists = read_lists(prepare(raw, tmp_path, **SMALL, validation=1, test=1))
    assert {key: len(items) for key, items in lists.items()} == {
        "training": 3 * 3,
        "training_absence": 3 * 3,
        "training_volumes": 3,
        **{
            name + kind: n for name in ("validation", "test") for kind, n in (("", 3), ("_absence", 3), ("_volumes", 1))
        },
    }
    cases = [{item["case"] for item in lists[split]} for split in ("training", "validation", "test")]
    assert len(set.union(*cases)) == sum(map(len, cases)) == 5
    assert np.load(lists["test"][0]["image"]).shape == (6, 4, 32, 32)
    assert "warning" not in capsys.readouterr().out


def test_slices_of_a_patient_on_both_sides_only_when_asked(raw, tmp_path, capsys):
    options = {**SMALL, "validation": 1, "split": "slices", "training_presence": 0.75, "training_absence": 0.5}
    lists = read_lists(prepare(raw, tmp_path / "a", **options))
    assert "warning: split by slice" in capsys.readouterr().out
    assert [len(lists[key]) for key in ("training", "test", "training_absence", "test_absence")] == [9, 3, 6, 6]
    for kind in ("", "_absence"):
        training, test = places(lists["training" + kind]), places(lists["test" + kind])
        assert not training & test
        assert len(training | test) == 12
    assert {case for case, _ in places(lists["training"])} & {case for case, _ in places(lists["test"])}
    again = read_lists(prepare(raw, tmp_path / "b", **options))
    other = read_lists(prepare(raw, tmp_path / "c", **{**options, "seed": 1}))
    assert places(again["test_absence"]) == places(lists["test_absence"]) != places(other["test_absence"])


def test_shares_of_the_slices_as_published():
    lists = {"training": [{"case": "a"}] * 9413, "training_absence": [{"case": "a"}] * 1755}
    lists |= {"test": [], "test_absence": []}
    split_slices(lists, 6000 / 9413, 1500 / 1755, seed=0)
    assert {key: len(items) for key, items in lists.items()} == {
        "training": 6000,
        "training_absence": 1500,
        "test": 3413,
        "test_absence": 255,
    }


def test_labels_for_a_supervised_reference(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL, validation=1, test=1, labelled=True)
    lists = read_lists(path)
    assert all("label" in item for item in lists["training"] + lists["training_volumes"])
    assert "supervised reference" in json.loads(path.read_text())["name"]


def test_the_recipe_repeats_what_the_network_saw(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL, validation=1, test=1, channels="flair,t1", zero_background=True)
    recipe = json.loads(path.read_text())["recipe"]
    assert recipe == {
        "method": "pathogan",
        "channels": ["FLAIR", "T1"],
        "image_size": [32, 32],
        "pixdim": 2.0,
        "labels": ["background", "tumour"],
        "label_values": {"tumour": [1, 2, 3, 4]},
        "first": 4,
        "last": 14,
        "min_lesion": 20.0,
        "num_std": 3.0,
        "zero_background": True,
    }
    item = read_datalist(path, "test")[0]
    [volumes] = read_datalist(path, "test_volumes")
    np.testing.assert_array_equal(
        np.load(item["image"])[item["index"]], load_scan(recipe, volumes).image[..., item["z"]].astype(np.float16)
    )


def test_whole_volumes(raw, tmp_path):
    path = brats_volumes.prepare(raw, tmp_path, pixdim=4.0, size=(16, 16, 8), min_tumour=100.0, validation=1, test=1)
    lists = read_lists(path)
    assert {key: len(items) for key, items in lists.items() if items} == {
        name + kind: 3 if name == "training" else 1
        for name in ("training", "validation", "test")
        for kind in ("", "_volumes")
    }
    assert not any("label" in item for item in lists["training"] + lists["training_volumes"])
    recipe = json.loads(path.read_text())["recipe"]
    assert recipe == {
        "method": "pathogan",
        "channels": ["FLAIR", "T1c", "T1", "T2"],
        "image_size": [16, 16, 8],
        "pixdim": 4.0,
        "labels": ["background", "tumour"],
        "label_values": {"tumour": [1, 2, 3, 4]},
        "min_lesion": 100.0,
        "num_std": 3.0,
        "zero_background": False,
    }
    volume = load_scan(recipe, lists["test_volumes"][0]).image
    np.testing.assert_array_equal(np.load(lists["test"][0]["image"])[0], volume.astype(np.float16))


def test_command_line(raw, tmp_path, monkeypatch, capsys):
    options = "--pixdim=2 --first=4 --last=14 --validation=0 --split=slices --channels=flair"
    command = ["brats_slices", f"--data={raw}", f"--out={tmp_path}", "--size", "32", "32", *options.split(" ")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        run_command(prepare)
    assert stop.value.code == 0
    assert "warning: split by slice" in capsys.readouterr().out
    assert json.loads((tmp_path / "datalist.json").read_text())["preparation"]["options"]["split"] == "slices"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "slices", "test_cases": "case_1"}, "use only one of them"),
        ({"split": "slices", "training_absence": 1.0}, "must lie between 0 and 1"),
        ({"first": 15, "last": 4}, "from 15 to 4 mm"),
        ({"min_tumour": 200}, "no slice with a lesion"),
    ],
)
def test_wrong_options(raw, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(raw, tmp_path, **{**SMALL, "validation": 0, "test": 0, **options})
    assert not (tmp_path / "datalist.json").exists()


def test_real_scans(tmp_path):
    root = Path(os.environ.get("TRANSEG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "brats"
    if not root.is_dir():
        pytest.skip("no real data")
    patterns = ["flair=Flair*", "t1c=T1c*", "label=OTMulti*", "mask=brainmask*"]
    path = prepare(root, tmp_path, "flair,t1c", patterns, validation=0, test_cases="brats_2013_pat0006_1")
    lists = read_lists(path)
    assert len(lists["training"]) > 20
    images = np.load(lists["training"][0]["image"]).astype(np.float32)
    assert np.abs(images).max() == 1
    border = images[:, :, 0]
    np.testing.assert_array_equal(border.min(axis=(0, 2)), border.max(axis=(0, 2)))
