"""Any table for any bundle: what is proposed from the data, who sees which label, and what is refused."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from transeg.bundle.package import bundle_folder
from transeg.data.datalist import read_datalist
from transeg.data.recipe import bundle_recipe
from transeg.data.table import Case, read_table, write_table
from transeg.errors import UserError
from transeg.method import find_method

from data_prep import lgg, sts
from data_prep.fingerprint import examine
from data_prep.options import assign_values
from data_prep.phantoms.heart import heart_phantom
from data_prep.phantoms.knee import LESION, knee_phantom, write_knee, write_reading
from data_prep.prepare import hide_mask, parse_crop, parse_pixdim, prepare, propose
from data_prep.splits import split_labelled
from data_prep.table import draft

GENSEG, PATHOGAN = "brain_mri_genseg_segmentation", "brain_mri_pathogan_segmentation"
CARDIAC, THIGH = "cardiac_ct_mr_segmentation", "thigh_mri_muscle_segmentation"


@pytest.fixture(scope="module")
def knees(tmp_path_factory):
    """Ten sagittal knees of one channel, 1.75 x 1.75 x 6 mm; label value 7; masks of four, a reading of all."""
    folder = tmp_path_factory.mktemp("knees")
    rows = []
    for case in range(10):
        phantom = knee_phantom((0, case), (64, 64, 10), (1.75, 1.75, 6.0), 0.2, lesion=case % 3 != 2)
        rows.append(write_knee(phantom, folder, case, labelled=case < 4))
    write_reading(folder, rows)
    return draft(folder, folder / "cases.csv", join=folder / "reading.csv")


def lists_of(path):
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if isinstance(value, list)}, content["recipe"]


def test_few_masks_and_yes_or_no_for_the_others(knees, tmp_path, capsys):
    lists, recipe = lists_of(prepare(knees, GENSEG, tmp_path / "out"))
    assert recipe["channels"] == ["image"]
    assert recipe["axis"] == "sagittal"
    assert recipe["pixdim"] == [1.75, 1.75, -1.0]
    assert (recipe["foreground"], recipe["normalise"], recipe["halves"]) == ("threshold", "std", False)
    assert (recipe["labels"], recipe["label_values"]) == (["background", "lesion"], {"lesion": [LESION]})
    assert all(size % 16 == 0 for size in recipe["image_size"])
    presence = {case.name: case.presence for case in read_table(knees)}
    masked = {f"knee_{case:03d}" for case in (0, 1, 3)}  # and a mask of none in knee_002
    for split in ("validation", "test"):
        assert {item["case"] for item in lists[f"{split}_volumes"]} < masked
        assert all("label" in item for item in lists[split])
    labelled = {item["case"] for item in lists["training"] if "label" in item}
    assert len(labelled) == 1
    assert labelled < masked
    for item in lists["training"]:
        if item["case"] not in masked:
            assert any(first <= item["z"] <= last for first, last in presence[item["case"]])
    stack = np.load(tmp_path / "out" / lists["training"][0]["image"])
    assert stack.shape[1:] == (1, *recipe["image_size"])
    shown = capsys.readouterr().out
    assert "10 cases: 4 with a label, image-level labels: 4 presence, 2 absence" in shown
    assert "label values: 7 (in 3)" in shown
    assert "voxel size 6 x 1.75 x 1.75 mm" in shown
    assert f"--dataset_dir {tmp_path / 'out'}" in shown


def test_not_one_mask(knees, tmp_path):
    cases = [replace(case, label=None) for case in read_table(knees) if case.name != "knee_002"]
    table = write_table(tmp_path / "cases.csv", cases)
    lists, recipe = lists_of(prepare(table, PATHOGAN, tmp_path / "out"))
    assert (recipe["first"], recipe["last"]) == (0.0, None)  # the heights of the bundle are those of brains
    assert lists["training"]
    assert lists["training_absence"]
    assert not any("label" in item for items in lists.values() for item in items)


def test_masks_hidden_but_for_testing(knees, tmp_path):
    lists, _ = lists_of(prepare(knees, PATHOGAN, tmp_path / "out", image_level=True))
    assert all(("label" in item) == (name in ("test", "test_volumes")) for name in lists for item in lists[name])
    assert lists["test"]


def test_a_mask_becomes_the_slices_that_it_shows(tmp_path):
    mask = np.zeros((6, 7, 12), np.uint8)
    mask[2, 3, [1, 2, 3, 8]] = 7
    nib.save(nib.Nifti1Image(mask, np.diag([1, 1, -3, 1])), tmp_path / "a.nii.gz")
    case = Case("a", {"image": "x"}, str(tmp_path / "a.nii.gz"))
    assert hide_mask(case, "axial").presence == ((1, 3), (8, 8))
    assert hide_mask(case, "sagittal").presence == ((2, 2),)
    nib.save(nib.Nifti1Image(0 * mask, np.eye(4)), tmp_path / "a.nii.gz")
    assert hide_mask(case, "axial").presence is False
    assert hide_mask(case, "axial").label is None


def test_settings_go_before_proposals(knees, tmp_path):
    options = {"axis": "coronal", "pixdim": "2,2,native", "size": "48,64", "crop": "centre", "foreground": "none"}
    options |= {"normalise": "percentiles", "labels": ["oedema=7"]}
    rows = [replace(row, presence=bool(row.presence)) for row in read_table(knees)]  # slices would be sagittal ones
    table = write_table(tmp_path / "cases.csv", rows)
    _, recipe = lists_of(prepare(table, GENSEG, tmp_path / "out", **options))
    assert recipe.items() >= {
        "axis": "coronal", "pixdim": [2.0, 2.0, -1.0], "image_size": [48, 64], "crop": "centre", "foreground": "none",
        "normalise": "percentiles", "labels": ["background", "oedema"], "label_values": {"oedema": [7]},
    }.items()  # fmt: skip


def test_a_dry_run_writes_nothing(knees, tmp_path):
    assert prepare(knees, GENSEG, tmp_path / "out", dry_run=True) is None
    assert not (tmp_path / "out").exists()


def test_two_domains_with_labels_of_one(tmp_path):
    rows = []
    for case in range(3):
        for domain in ("ct", "mr"):
            phantom = heart_phantom((0, case), domain, (36, 36, 30), 6.0)
            name = f"{domain}{case}"
            nib.save(nib.Nifti1Image(phantom.image, phantom.affine), tmp_path / f"{name}.nii.gz")
            nib.save(nib.Nifti1Image(phantom.label, phantom.affine), tmp_path / f"{name}_label.nii.gz")
            label = str(tmp_path / f"{name}_label.nii.gz") if domain == "ct" else None
            rows.append(Case(name, {"image": str(tmp_path / f"{name}.nii.gz")}, label, patient=name, domain=domain))
    table = write_table(tmp_path / "cases.csv", rows)
    lists, recipe = lists_of(prepare(table, CARDIAC, tmp_path / "out", test=0))
    assert list(recipe["domains"]) == ["ct", "mr"]  # the labelled one first
    assert recipe["domains"]["ct"]["scale"] == "window"
    assert recipe["domains"]["mr"] == {"scale": "percentiles", "range": [0.5, 99.5]}
    assert recipe["label_values"] == bundle_recipe(bundle_folder(CARDIAC))["label_values"]
    assert {"label" in item for item in lists["training_ct"]} == {True}
    assert {"label" in item for item in lists["training_mr"]} == {False}
    with pytest.raises(UserError, match="two domains, such as ct and mr; the column domain of the table has: ct"):
        prepare(write_table(tmp_path / "one.csv", rows[::2]), CARDIAC, tmp_path / "no")
    bare = write_table(tmp_path / "bare.csv", [replace(row, label=None) for row in rows])
    with pytest.raises(UserError, match="needs labels of at least one domain"):
        prepare(bare, CARDIAC, tmp_path / "no")


def test_easy_and_hard(knees, tmp_path):
    rows = [replace(row, label=None, presence=None) for row in read_table(knees)[:6]]
    rows = [replace(row, domain="hard" if k % 2 else "easy") for k, row in enumerate(rows)]
    lists, recipe = lists_of(prepare(write_table(tmp_path / "cases.csv", rows), THIGH, tmp_path / "out"))
    assert {item["case"] for item in lists["training"]} <= {row.name for row in rows[1::2]}
    assert {item["case"] for item in lists["training_absence"]} == {row.name for row in rows[::2]}
    assert recipe["normalise"] == "percentiles"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": "flair"}, "no column flair; the table has image"),
        ({"pixdim": "2,2"}, "expected 1 or 3 numbers"),
        ({"pixdim": "0"}, "voxel sizes are above 0"),
        ({"size": "64,64,64"}, "takes images of 2 axes"),
        ({"crop": "1,2"}, "expected 3 numbers"),
        ({"labels": ["lesion=3"]}, "values without a name: 7"),
        ({"labels": ["a=7", "b=1"]}, "segments 1 structure"),
        ({"labels": ["lesion"]}, "expected NAME=VALUE"),
        ({"labels": ["a=7", "b=7"]}, "value 7 is given twice"),
        ({"bundle": "no_such_bundle"}, "no bundle no_such_bundle; there are brain_mri_genseg_segmentation, "),
        ({"bundle": "brain_mri_gensg_segmentation"}, "did you mean brain_mri_genseg_segmentation"),
        ({"size": "0,0"}, "--size 0,0: integers of at least 16"),
        ({"size": "64.5,64"}, "integers of at least 16"),
        ({"normalise": "window"}, r"normalise is 'window', but there is no window \(LOW, HIGH\)"),
        ({"crop": "heart"}, "crop is 'heart'; expected foreground"),
        ({"foreground": "mask"}, "column foreground is empty for knee_000, "),
        ({"labelled_count": 99}, "99 labelled volumes requested, but 1 training volumes show a lesion"),
        ({"labelled_cases": "knee_008"}, "no training volume with a lesion is named knee_008; choose from: knee_00"),
    ],
    ids=str,
)
def test_what_is_refused(knees, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        prepare(knees, **{"bundle": GENSEG, "out": tmp_path / "out", **options})
    assert not (tmp_path / "out").exists()


def test_prepared_again_in_place_but_not_over_another_data_set(knees, tmp_path, capsys):
    path, mine = prepare(knees, GENSEG, tmp_path / "out"), tmp_path / "out/images/mine.npy"
    mine.touch()
    rows = [replace(row, name=f"again_{row.name}") for row in read_table(knees)]
    write_table(knees.parent / "again.csv", rows)
    again, _ = lists_of(prepare(knees.parent / "again.csv", GENSEG, tmp_path / "out"))
    assert "replacing the data set in" in capsys.readouterr().out
    stacks = {item["image"] for key in again if not key.endswith("_volumes") for item in again[key]}
    assert {f"images/{file.name}" for file in mine.parent.iterdir()} == stacks | {"images/mine.npy"}
    before = path.read_text()
    with pytest.raises(
        UserError, match=f"out: holds the data set '{knees.parent.name}' for genseg; delete it or choose"
    ):
        prepare(knees, PATHOGAN, tmp_path / "out")
    with pytest.raises(UserError, match="holds the data set"):
        prepare(write_table(tmp_path / "cases.csv", read_table(knees)), GENSEG, tmp_path / "out")
    assert path.read_text() == before


def test_an_image_level_label_against_the_mask_is_refused(knees, tmp_path):
    rows = read_table(knees)
    assert [bool(row.presence) for row in rows[:4]] == [True, True, False, True]
    wrong = [replace(rows[0], presence=False), *rows[1:2], replace(rows[2], presence=((2, 3),)), *rows[3:]]
    with pytest.raises(UserError) as error:
        prepare(write_table(tmp_path / "cases.csv", wrong), GENSEG, tmp_path / "out")
    assert "knee_000: presence is no, but its label shows the values 7" in str(error.value)
    assert "knee_002: presence is 2-3, but its label shows no structure" in str(error.value)
    assert "knee_001" not in str(error.value)
    assert not (tmp_path / "out").exists()
    [(first, last)] = rows[0].presence
    later = replace(rows[0], presence=((first + 1, last + 1),))  # counted from 1
    with pytest.raises(UserError, match=rf"presence is {first + 1}-{last + 1}, but .* slices {first}-{last} \(sag"):
        prepare(write_table(tmp_path / "cases.csv", [later, *rows[1:]]), GENSEG, tmp_path / "out")
    wider = replace(rows[0], presence=((first, last + 1),))
    prepare(write_table(tmp_path / "cases.csv", [wider, *rows[1:]]), GENSEG, tmp_path / "out", dry_run=True)


def test_scans_of_several_domains_are_not_mixed(knees, tmp_path):
    rows = [replace(row, domain="ct" if k < 3 else "") for k, row in enumerate(read_table(knees))]
    path = write_table(tmp_path / "cases.csv", rows)
    with pytest.raises(UserError, match="column domain has ct 3, none 7, which genseg would not tell apart; keep the"):
        prepare(path, GENSEG, tmp_path / "out", dry_run=True)
    prepare(write_table(path, [replace(row, domain="ct") for row in rows]), GENSEG, tmp_path / "out", dry_run=True)


def test_a_mask_of_broken_values_is_no_mask(knees, tmp_path, capsys):
    rows = read_table(knees)
    mask = nib.load(rows[0].label)
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj) * np.float32(0.1), mask.affine), tmp_path / "soft.nii.gz")
    broken = replace(rows[0], label=str(tmp_path / "soft.nii.gz"))
    prepare(write_table(tmp_path / "cases.csv", [broken, *rows[1:]]), GENSEG, tmp_path / "out", dry_run=True)
    shown = capsys.readouterr().out
    assert "cannot be read: knee_000: " in shown
    assert "soft.nii.gz: no mask: it has values such as 0.7; a mask has whole numbers" in shown
    assert "label values: 7 (in 2)" in shown


def test_the_noise_of_air_is_no_constant_background(tmp_path):
    rng = np.random.default_rng(0)
    head = np.linalg.norm(np.indices((40, 40, 12)) - np.array([20, 20, 6]).reshape(3, 1, 1, 1), axis=0) < 12
    for name, air in (("noisy", rng.integers(0, 4, head.shape)), ("stripped", np.zeros(head.shape, int))):
        scan = np.where(head, rng.integers(80, 120, head.shape), air).astype(np.int16)
        nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / f"{name}.nii.gz")
        found = examine([Case(name, {"image": str(tmp_path / f"{name}.nii.gz")})], ["image"])
        assert found.zero_background == (name == "stripped")


def test_cases_of_which_nothing_is_known_are_told(knees, tmp_path, capsys):
    rows = [row if k != 5 else replace(row, presence=None) for k, row in enumerate(read_table(knees))]
    lists, _ = lists_of(prepare(write_table(tmp_path / "cases.csv", rows), GENSEG, tmp_path / "out"))
    assert not any(item["case"] == "knee_005" for items in lists.values() for item in items)
    assert "not used: knee_005: neither a label nor an image-level label" in capsys.readouterr().out


def test_a_fingerprint_by_hand(tmp_path):
    voxels = np.zeros((20, 30, 8), np.int16)
    voxels[5:15, 10:20, 2:6] = 100 + np.arange(4)
    nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 1.0, 5.0, 1.0])), tmp_path / "a.nii.gz")
    found = examine([Case("a", {"image": str(tmp_path / "a.nii.gz")})], ["image"])
    assert found.spacing.tolist() == [2, 1, 5]
    assert found.size.tolist() == [40, 30, 40]
    assert found.extent.tolist() == [20, 10, 20]
    assert found.zero_background
    assert found.anisotropic
    assert (found.slice_axis, found.ct) == (2, False)
    assert found.window == pytest.approx((100, 103))


def test_scans_with_slices_along_several_axes_get_isotropic_voxels(tmp_path):
    rng, cases = np.random.default_rng(0), []
    for name, spacing in {"a": (8, 1, 1), "b": (1, 8, 1), "c": (1, 8, 1)}.items():
        volume = rng.normal(100, 10, [96 // size for size in spacing]).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.diag([*spacing, 1])), tmp_path / f"{name}.nii.gz")
        cases.append(Case(name, {"image": str(tmp_path / f"{name}.nii.gz")}, domain="mr" if name == "a" else "ct"))
    found = examine(cases, ["image"])
    assert found.mixed
    assert not found.anisotropic
    assert "isotropic voxels fit all" in "\n".join(found.lines())
    assert not examine(cases[1:], ["image"]).mixed
    for bundle in (GENSEG, CARDIAC, THIGH):
        base = bundle_recipe(bundle_folder(bundle))
        recipe = propose(base, find_method(base["method"]), found, cases=cases, channels=["image"])
        assert isinstance(recipe["pixdim"], float)


def test_copies_of_a_scan_under_other_names_are_refused(knees, tmp_path):
    rows = read_table(knees)
    shutil.copy(rows[2].images["image"], tmp_path / "again.nii.gz")
    copy = replace(rows[2], name="again", images={"image": str(tmp_path / "again.nii.gz")}, patient="")
    with pytest.raises(
        UserError, match=r"several cases; correct the table:\n  \S*knee_002\S* of knee_002, \S*again.nii.gz"
    ):
        prepare(write_table(tmp_path / "cases.csv", [*rows, copy]), GENSEG, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_scan_that_cannot_be_used_is_told_as_what_it_is(tmp_path, capsys):
    rng = np.random.default_rng(0)
    voxels = rng.normal(100, 10, (3, 24, 24, 10)).astype(np.float32)
    voxels[0, 12, 12, 5] = np.nan
    voxels[1] = 7
    cases = []
    for k, volume in enumerate(voxels):
        nib.save(nib.Nifti1Image(volume, np.eye(4)), tmp_path / f"{k}.nii.gz")
        cases.append(Case(f"s{k}", {"image": str(tmp_path / f"{k}.nii.gz")}))
    found = examine(cases, ["image"])
    assert "1 NaN or infinite voxels inside the volume" in found.failed["s0"]
    assert "no body found; its voxels are (nearly) all alike" in found.failed["s1"]
    assert found.window[1] < 150


def test_what_cannot_be_trained_on_is_refused_and_leaves_nothing(knees, tmp_path):
    rows = [replace(row, label=None, presence=True) for row in read_table(knees)]
    with pytest.raises(
        UserError, match=r"no slice without a lesion in the training volumes.*add patients whose presence"
    ):
        prepare(write_table(tmp_path / "cases.csv", rows), PATHOGAN, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_validation_without_masks_is_told(knees, tmp_path, capsys):
    prepare(knees, GENSEG, tmp_path / "out", validation=0)
    assert (
        "warning: no validation slice with a lesion has a mask; a training run keeps its last weights"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("option", ["--validation=-1", "--test=-1", "--workers=0", "--labelled-fraction=2"])
def test_numbers_that_make_no_sense_are_refused(knees, tmp_path, option):
    command = [
        sys.executable,
        "-m",
        "data_prep.prepare",
        str(knees),
        "--bundle",
        GENSEG,
        "--out",
        str(tmp_path / "out"),
    ]
    run = subprocess.run([*command, option], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert f"Invalid value for '{option.partition('=')[0]}'" in run.stderr


@pytest.fixture
def stacks(tmp_path):
    """Table of short-axis stacks of two contrasts: the slices of half of them are nearest to coronal planes."""
    rng, rows = np.random.default_rng(0), []
    across = {0: np.eye(3), 1: np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0]])}  # the last axis of the file along S or A
    for k in range(8):
        affine = np.eye(4)
        affine[:3, :3] = across[k // 2 % 2] @ np.diag([1, 1, 8])
        for kind, voxels in {
            "scan": rng.normal(100, 10, (40, 48, 6)),
            "label": rng.integers(0, 2, (40, 48, 6)),
        }.items():
            nib.save(nib.Nifti1Image(voxels.astype(np.int16), affine), tmp_path / f"{k}_{kind}.nii.gz")
        label = str(tmp_path / f"{k}_label.nii.gz")
        image = {"image": str(tmp_path / f"{k}_scan.nii.gz")}
        rows.append(Case(f"s{k}", image, label=label, domain="c0" if k % 2 else "lge"))
    return write_table(tmp_path / "stacks.csv", rows)


def test_stacks_in_planes_of_the_organ_keep_the_axes_of_their_files(stacks, tmp_path, capsys):
    options = {"validation": 2, "test": 2}
    path = prepare(stacks, CARDIAC, tmp_path / "out", **options)
    recipe = json.loads(path.read_text())["recipe"]
    assert (recipe["axis"], recipe["pixdim"], recipe["image_size"]) == ("native", [1.0, 1.0, -1.0], [48, 48, 16])
    assert "voxel size 1 x 1 x 8 mm (axes of the files; median)" in capsys.readouterr().out
    volume, case = np.load(path.parent / "images/s2.npy")[0], nib.load(stacks.parent / "2_scan.nii.gz")
    assert volume.shape == (1, 48, 48, 16)
    assert (volume != volume.min()).any(axis=(0, 1, 2)).sum() == case.shape[2], "slices are not interpolated between"
    prepare(stacks, CARDIAC, tmp_path / "axial", axis="axial", **options, dry_run=True)
    out = capsys.readouterr().out
    assert "pixdim 1.0, " in out
    assert "axis axial" in out
    one = write_table(tmp_path / "one.csv", [replace(case, domain="") for case in read_table(stacks)])
    with pytest.raises(UserError, match="--axis native: genseg takes slices; choose sagittal, coronal, axial"):
        prepare(one, GENSEG, tmp_path / "slices", axis="native", dry_run=True)


def test_values_and_sizes_are_parsed():
    assert parse_pixdim("0.8 x 0.8 x native") == [0.8, 0.8, -1]
    assert parse_pixdim("2") == 2
    assert parse_pixdim("") is None
    assert parse_crop("1,2.5,-3") == [1, 2.5, -3]
    assert assign_values({"t": [1, 2, 4]}, ["background=4", "u=2"]) == {"t": [1], "background": [4], "u": [2]}


@pytest.mark.parametrize(("labelled", "expected"), [(1, (0, 0)), (2, (1, 0)), (3, (1, 1)), (20, (2, 2))])
def test_only_labelled_patients_are_held_out(labelled, expected):
    cases = [Case(f"c{k:02d}", label="x" if k < labelled else None, patient=f"c{k:02d}") for k in range(40)]
    splits = split_labelled(cases, 0.1, 0.1, 0)
    held = [[name for name, split in splits.items() if split == part] for part in ("validation", "test")]
    assert tuple(map(len, held)) == expected
    assert all(int(name[1:]) < labelled for names in held for name in names)
    stated = split_labelled([replace(case, split="test" if case.name == "c39" else "") for case in cases], 0.1, 0.1, 0)
    assert [name for name, split in stated.items() if split != "training"] == ["c39"]


def write_slices(folder, patient, slices=6, size=48):
    """A patient as in kaggle_3m: RGB slices and masks, a lesion in the middle ones."""
    from PIL import Image

    (folder / patient).mkdir(parents=True)
    rng = np.random.default_rng(sum(patient.encode()))
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij"), -1)
    head = (grid**2).sum(-1) < 0.7
    for z in range(1, slices + 1):
        mask = (((grid - 0.2) ** 2).sum(-1) < 0.06) & (2 < z < 5)
        image = head[..., None] * (90 + 60 * mask[..., None]) + rng.integers(0, 9, (size, size, 3))
        Image.fromarray(image.astype(np.uint8)).save(folder / patient / f"{patient}_{z}.tif")
        Image.fromarray((255 * mask).astype(np.uint8)).save(folder / patient / f"{patient}_{z}_mask.tif")


def test_lgg_as_published(tmp_path):
    for k in range(5):
        write_slices(tmp_path / "kaggle_3m", f"TCGA_DU_10{k}0_19990101")
    lists, recipe = lists_of(
        lgg.prepare(tmp_path / "kaggle_3m", tmp_path / "out", labelled_count=1, test=1, validation=1)
    )
    assert recipe["channels"] == ["t1", "flair", "t1c"]
    assert recipe["pixdim"] == [0.94, 0.94, -1.0]
    assert recipe["spacing"] == [0.94, 0.94, 6.0]
    assert [len(lists[name]) for name in ("training", "training_absence", "test")] == [6, 12, 2]
    assert len({item["case"] for item in lists["training"] if "label" in item}) == 1
    [volume] = read_datalist(tmp_path / "out" / "datalist.json", "test_volumes")
    assert [reference.rsplit("#")[1] for reference in volume["image"]] == ["0", "1", "2"]
    hidden, _ = lists_of(
        lgg.prepare(tmp_path / "kaggle_3m", tmp_path / "b", PATHOGAN, image_level=True, test=1, validation=1)
    )
    assert [len(hidden[name]) for name in ("training", "training_absence")] == [6, 12]
    assert not any("label" in item for item in hidden["training"] + hidden["training_volumes"])


def test_sts_as_published(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(4):
        (tmp_path / "raw" / f"STS_00{k}").mkdir(parents=True)
        for name, spacing, base in (("MR_T1", (2, 2, 6), 0), ("CT", (2.5, 2.5, 6), -900)):
            if name == "CT" and k == 3:
                continue
            leg = np.zeros((40, 40, 8))
            leg[8:32, 8:32] = 1
            mask = np.zeros(leg.shape, np.uint8)
            mask[14:22, 14:22, 2:5] = 1
            image = (leg * (300.0 - base + 90.0 * mask) + base + 5 * rng.normal(size=leg.shape)).astype(np.int16)
            for what, volume in (("image", image), ("mask", mask)):
                nib.save(
                    nib.Nifti1Image(volume, np.diag([*spacing, 1.0])),
                    tmp_path / "raw" / f"STS_00{k}" / f"{name}_{what}.nii.gz",
                )
    lists, _ = lists_of(sts.prepare(tmp_path / "raw", tmp_path / "out", validation=1, test=1))
    assert {item["case"] for name, items in lists.items() for item in items} == {f"STS_00{k}_MR" for k in range(4)}
    two, recipe = lists_of(sts.prepare(tmp_path / "raw", tmp_path / "two", CARDIAC, validation=1, test=0))
    assert {*recipe["domains"]} == {"mr", "ct"}
    assert len(two["training_mr"]) + len(two["validation_mr"]) == 4


def test_methods_name_an_extractor_that_takes_a_recipe():
    for name in ("genseg", "pathogan", "thigh", "cardiac"):
        assert find_method(name).extractor.startswith(f"transeg.methods.{name}.")
    with (bundle_folder(GENSEG) / "configs" / "inference.json").open() as file:
        assert json.load(file)["recipe"]["method"] == "genseg"


def test_the_reading_of_phantoms_is_a_table(knees):
    with (knees.parent / "reading.csv").open(newline="") as file:
        assert [row["presence"] for row in csv.DictReader(file)][2] == "no"
