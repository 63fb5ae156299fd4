import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from transeg.data.datalist import read_datalist
from transeg.data.datasets import UnpairedDataset
from transeg.data.samplers import UnpairedBatchSampler
from transeg.data.training_cases import prepared_cases
from transeg.errors import CasesFailedError, TableError
from transeg.files import digest_of
from transeg.transforms.preprocessing import load_scan
from transeg.transforms.slices import LoadSliced

from data_prep.brats import find_brains, prepare
from data_prep.cases import run_command

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
SMALL = {"pixdim": 2.0, "size": (32, 32), "validation": 0, "test": 1}


def write_case(folder, name, tumour=True, names="{}_{}.nii.gz", channels=("flair", "t1ce", "t1", "t2"), seg="seg"):
    """A box of 24 x 20 x 8 voxels of brain, with a bright cube in its left half."""
    rng = np.random.default_rng(sum(name.encode()))
    (folder / name).mkdir(parents=True)
    brain, label = np.zeros((28, 28, 10)), np.zeros((28, 28, 10), np.uint8)
    brain[2:26, 4:24, 1:9] = 1
    if tumour:
        label[16:22, 8:14, 3:6] = 4  # the affine turns high X to the left
    for channel in channels:
        image = brain * (100 + 5 * rng.normal(size=brain.shape)) + 30 * label
        save(image.astype(np.int16), folder / name / names.format(name, channel))
    save(label, folder / name / names.format(name, seg))
    return folder / name


def save(array, path, affine=AFFINE):
    nib.Nifti1Image(array, affine).to_filename(path)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    for grade in ("HGG", "LGG"):
        for i in range(3):
            write_case(folder / grade, f"Brats17_{grade}_{i}_1")
    return folder


def test_prepared_data_trains(raw, tmp_path, capsys):
    path = prepare(raw, tmp_path, **SMALL, labelled_count=2)
    lists = {key: read_datalist(path, key) for key in ("training", "training_absence", "test", "validation")}
    assert {key: len(items) for key, items in lists.items()} == {
        "training": 5 * 3,
        "training_absence": 5 * (3 + 10),
        "test": 3,
        "validation": 0,
    }
    labelled = {item["case"] for item in lists["training"] if "label" in item}
    assert len(labelled) == 2
    assert not labelled & {item["case"] for item in lists["training"] if "label" not in item}
    assert not {item["case"] for item in lists["training"]} & {item["case"] for item in lists["test"]}
    assert {item["side"] for item in lists["training"]} == {"left"}

    dataset = UnpairedDataset(lists["training"], lists["training_absence"], LoadSliced())
    sampler = UnpairedBatchSampler(dataset, 4, labelled_per_batch=1)
    item = dataset[next(iter(sampler))[0]]
    assert item["image"].shape == item["absence"].shape == (4, 16, 32)
    assert item["labelled"]
    assert item["label"].sum() == 36
    assert item["image"][0][item["label"][0] > 0].mean() > 0.2 > item["image"].abs().mean()

    volumes = read_datalist(path, "training_volumes")
    assert [Path(file).is_file() for file in volumes[0]["image"]] == [True] * 4
    assert {item["case"] for item in volumes if "label" in item} == labelled
    preparation = json.loads(path.read_text())["preparation"]
    assert preparation["dropped"] == {"little foreground": 6 * 4}
    assert set(preparation["labelled_cases"]) == labelled
    assert preparation["sha256"][volumes[0]["case"]] == [digest_of(file) for file in volumes[0]["image"]]
    assert prepared_cases(path).keys() == {"training"}
    assert "dropped: little foreground 24" in capsys.readouterr().out


def test_the_recipe_repeats_what_the_network_saw(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL, channels="t2,flair", min_brain=0.2)
    recipe = json.loads(path.read_text())["recipe"]
    assert recipe == {
        "method": "genseg",
        "channels": ["FLAIR", "T2"],
        "image_size": [32, 32],
        "pixdim": 2.0,
        "halves": True,
        "labels": ["background", "tumour"],
        "label_values": {"tumour": [1, 2, 3, 4]},
        "min_foreground": 0.2,
        "min_lesion": 0.01,
        "num_std": 5.0,
        "zero_background": True,
    }
    item = read_datalist(path, "training")[0]
    [volumes] = [v for v in read_datalist(path, "training_volumes") if v["case"] == item["case"]]
    half = load_scan(recipe, volumes, clip=False).image[:, :16, :, item["z"]]
    np.testing.assert_array_equal(np.load(item["image"])[item["index"]], half.astype(np.float16))


def test_processes_and_repetition_give_the_same_bytes(raw, tmp_path):
    paths = [prepare(raw, tmp_path / str(workers), **SMALL, workers=workers) for workers in (1, 2)]
    files = [sorted(p.relative_to(path.parent) for p in path.parent.rglob("*.npy")) for path in paths]
    assert files[0] == files[1]
    assert all((paths[0].parent / file).read_bytes() == (paths[1].parent / file).read_bytes() for file in files[0])
    assert read_counts(paths[0]) == read_counts(paths[1])


def read_counts(path):
    content = json.loads(path.read_text())
    return content["training"], content["preparation"]["labelled_cases"]


@pytest.mark.parametrize(
    ("names", "channels", "case"),
    [
        ("{}_{}.nii", ("flair", "t1ce", "t1", "t2"), "BraTS20_Training_001"),
        ("{}-{}.nii.gz", ("t2f", "t1c", "t1n", "t2w"), "BraTS-GLI-00012-001"),
        ("{}_{}.nii.gz", ("FLAIR", "T1Gd", "T1", "T2"), "BraTS2021_00000"),
    ],
)
def test_published_names(tmp_path, names, channels, case):
    write_case(tmp_path, case, names=names, channels=channels)
    [found] = find_brains(tmp_path, ("FLAIR", "T1c", "T1", "T2"), None)
    assert found.problem == ""
    assert [Path(path).name for path in found.images.values()] == [names.format(case, channel) for channel in channels]
    assert Path(found.label).name == names.format(case, "seg")
    assert found.patient == ("BraTS-GLI-00012" if "GLI" in case else case)


def test_grades_from_folders_or_table(raw, tmp_path):
    assert {case.group for case in find_brains(raw, ("FLAIR",), None)} == {"HGG", "LGG"}
    write_case(tmp_path, "BraTS20_Training_001")
    (tmp_path / "name_mapping.csv").write_text("Grade,BraTS_2020_subject_ID\nLGG,BraTS20_Training_001\n")
    assert [case.group for case in find_brains(tmp_path, ("FLAIR",), None)] == ["LGG"]


def test_channels_by_pattern_and_a_mask_for_images_without_zero_background(tmp_path):
    for name in ("a", "b"):
        folder = write_case(tmp_path / "raw", name, channels=("Flair_norm", "T1c_norm"), seg="OTMulti")
        for file in folder.glob("*norm*"):
            image = nib.load(file).get_fdata()
            save((image > 0).astype(np.uint8), folder / "brainmask.nii.gz")
            save((image - 100).astype(np.float32), file)
    patterns = ["flair=*flair*", "T1c=*T1c*", "label=*OTMulti*", "mask=brainmask*"]
    path = prepare(tmp_path / "raw", tmp_path / "out", channels="t1c,flair", pattern=patterns, **SMALL)
    [volumes] = read_datalist(path, "test_volumes")
    assert ["Flair" in volumes["image"][0], "T1c" in volumes["image"][1]] == [True, True]
    assert volumes["mask"].endswith("brainmask.nii.gz")
    image = np.load(read_datalist(path, "test_absence")[0]["image"])
    assert image.shape[1:] == (2, 16, 32)
    assert 0.4 < (image != 0).mean() < 0.6


def test_bad_cases_are_listed_and_the_others_done(raw, tmp_path):
    for name in ("missing", "nan", "cut", "affine", "values"):
        write_case(tmp_path / "raw", name)
    for name in ("good1", "good2"):
        write_case(tmp_path / "raw", name)
    folder = tmp_path / "raw"
    (folder / "missing/missing_t1ce.nii.gz").unlink()
    save(np.full((28, 28, 10), np.nan, np.float32), folder / "nan/nan_t2.nii.gz")
    whole = (folder / "cut/cut_t1.nii.gz").read_bytes()
    (folder / "cut/cut_t1.nii.gz").write_bytes(whole[: len(whole) // 2])
    save(np.ones((28, 28, 10), np.int16), folder / "affine/affine_t1.nii.gz", np.diag([-2.0, -2, 3, 1]))
    save(np.full((28, 28, 10), 7, np.uint8), folder / "values/values_seg.nii.gz")
    with pytest.raises(CasesFailedError) as error:
        prepare(folder, tmp_path / "out", **{**SMALL, "test": 0}, test_cases="good2")
    message = str(error.value)
    assert "5 of 7 cases failed" in message
    for part in (
        r"missing: no file for T1c",
        "nan_t2.nii.gz: 7840 NaN",
        "cut_t1.nii.gz: cannot be read",
        "affine_t1.nii.gz",
        "values_seg.nii.gz",
    ):
        assert part in message
    assert "7" in message
    out = tmp_path / "out"
    assert {item["case"] for item in read_datalist(out / "datalist.json", "training")} == {"good1"}
    written = {file.name for file in out.rglob("*") if file.is_file()}
    assert written == {"datalist.json", "good1.npy", "good2.npy"}


def test_two_masks_of_a_case_are_a_choice_of_the_user(tmp_path):
    folder = write_case(tmp_path / "raw", "double")
    write_case(tmp_path / "raw", "good")
    save(np.ones((28, 28, 10), np.uint8), folder / "double_2_seg.nii.gz")
    with pytest.raises(
        TableError, match=r"double: 2 candidates for mask: double/double_2_seg.nii.gz, double/double_seg"
    ):
        prepare(tmp_path / "raw", tmp_path / "out", **SMALL)
    path = prepare(tmp_path / "raw", tmp_path / "out", **SMALL, pattern=["skip=*_2_seg*"])
    labels = {item["case"]: item.get("label") for item in read_datalist(path, "training_volumes")}
    labels |= {item["case"]: item["label"] for item in read_datalist(path, "test_volumes")}
    assert labels["double"].endswith("double/double_seg.nii.gz")


def test_a_case_without_a_mask_is_unlabelled(tmp_path):
    (write_case(tmp_path, "a") / "a_seg.nii.gz").unlink()
    [found] = find_brains(tmp_path, ("FLAIR", "T2"), None)
    assert (found.problem, found.label) == ("", None)


def test_channels_of_one_file_need_names(tmp_path):
    save(np.ones((8, 8, 4, 4), np.int16), tmp_path / "BRATS_001.nii.gz")
    [found] = find_brains(tmp_path, ("FLAIR", "T1c", "T1", "T2"), None)
    assert "BRATS_001.nii.gz: which channel is which?" in found.problem


def test_command_line_exits_with_one_message(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["brats", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"^error: .*: no scan found") as stop:
        run_command(prepare)
    assert stop.value.code not in (None, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "flair,pet"}, "--channels: unknown pet; choose from flair, t1c, t1, t2"),
        ({"pattern": ["seg=*x*"]}, "--pattern seg"),
        ({"size": (31, 32)}, "width must be even"),
        ({"labelled_cases": "nobody"}, "no training volume with a lesion is named nobody"),
        ({"labelled_count": 9}, "9 labelled volumes requested, but 5 training volumes show a lesion"),
        ({"min_brain": 0.9}, "no slice with a lesion"),
    ],
)
def test_wrong_options(raw, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(raw, tmp_path, **{**SMALL, **options})
    assert not (tmp_path / "datalist.json").exists()


def test_real_scans(tmp_path):
    root = Path(os.environ.get("TRANSEG_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "brats"
    if not root.is_dir():
        pytest.skip("no real data")
    patterns = ["flair=Flair*", "t1c=T1c*", "label=OTMulti*", "mask=brainmask*"]
    path = prepare(
        root, tmp_path, "flair,t1c", patterns, validation=0, test_cases="brats_2013_pat0006_1", pixdim=4, size=(60, 60)
    )
    lists = [read_datalist(path, key) for key in ("training", "training_absence")]
    assert min(map(len, lists)) > 20
    images = np.load(lists[0][0]["image"]).astype(np.float32)
    brain = images[images != 0]
    assert abs(brain.mean()) < 0.1
    assert 0.1 < brain.std() < 0.3
