"""Phantoms: determinism, layout, anatomy and difficulty."""

import json

import nibabel as nib
import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from typer.testing import CliRunner

from data_prep.phantoms import brain_phantom, heart_phantom, liver_phantom, thigh_phantom
from data_prep.phantoms.__main__ import app

BRAIN = {"shape": (60, 60, 39), "spacing": 4.0}
LIVER = {"shape": (64, 64, 24), "spacing": (6.0, 6.0, 10.0)}


def brain(case, difficulty=0.5, **options):
    return brain_phantom((7, case), **{**BRAIN, **options}, difficulty=difficulty)


def normalised_flair(phantom):
    flair = phantom.images["flair"].astype(float)
    inside = flair > 0
    return (flair[inside] - flair[inside].mean()) / (5 * flair[inside].std()), phantom.label[inside] > 0


def test_brain_is_a_function_of_seed_and_options():
    first, again, other = brain(0), brain(0), brain(1)
    assert all(np.array_equal(first.images[n], again.images[n]) for n in first.images)
    assert np.array_equal(first.label, again.label)
    assert not np.array_equal(first.images["t1"], other.images["t1"])
    assert not np.array_equal(first.images["t1"] > 0, other.images["t1"] > 0)


def test_brain_form_and_affine():
    phantom = brain(0, grade="HGG")
    masks = [image > 0 for image in phantom.images.values()]
    assert list(phantom.images) == ["flair", "t1ce", "t1", "t2"]
    assert all(i.shape == BRAIN["shape"] and i.dtype == np.int16 for i in phantom.images.values())
    assert all(np.array_equal(masks[0], mask) for mask in masks)
    assert 900 < masks[0].sum() * 4**3 / 1000 < 2000, "brain volume in ml"
    assert nib.aff2axcodes(phantom.affine) == ("L", "P", "S")
    assert np.allclose(phantom.affine, [[-4, 0, 0, 0], [0, -4, 0, 236], [0, 0, 4, 0], [0, 0, 0, 1]])
    assert not phantom.label[~masks[0]].any()


def test_brain_contrast():
    """Edema is bright in FLAIR and T2 and dark in T1; the rim enhances on T1c only; low grade does not enhance."""
    labels = set()
    for case in range(4):
        phantom = brain(case, difficulty=0.2, grade="HGG")
        healthy = (phantom.label == 0) & (phantom.images["t1"] > 0)
        ratio = {
            (n, k): image[phantom.label == k].mean() / image[healthy].mean()
            for n, image in phantom.images.items()
            for k in np.unique(phantom.label)[1:]
        }
        labels |= set(np.unique(phantom.label))
        assert ratio["flair", 2] > 1.15
        assert ratio["t2", 2] > 1.1
        assert ratio["t1", 2] < 0.98
        assert ratio["t1ce", 4] > 1.15 * ratio["t1", 4]
    assert labels == {0, 1, 2, 4}
    assert set(np.unique(brain(0, grade="LGG").label)) == {0, 1, 2}


def test_a_healthy_brain_is_the_same_patient_without_the_tumour():
    ill, healthy = brain(0), brain(0, grade="healthy")
    assert ill.label.any()
    assert not healthy.label.any()
    assert healthy.grade == "healthy"
    # the mass effect fades with the distance, and nothing else differs outside of the tumour
    where = np.argwhere(ill.label) * BRAIN["spacing"]
    reach = np.ptp(where, axis=0).max()
    positions = np.moveaxis(np.indices(ill.label.shape), 0, -1) * BRAIN["spacing"]
    far = np.linalg.norm(positions - where.mean(axis=0), axis=-1) > reach
    for name, image in ill.images.items():
        assert np.array_equal(image > 0, healthy.images[name] > 0)
        change = np.abs(image - healthy.images[name]) / image[image > 0].mean()
        assert change[far & (image > 0)].mean() < 0.01
        assert change[ill.label > 0].mean() > 0.1


def test_brain_half_slices_of_both_domains():
    """The same patients give half-slices with tumour and without, at the same heights and on either side."""
    sides, shared = set(), 0
    for case in range(8):
        phantom = brain(case)
        left, right = np.split(phantom.label > 0, 2, axis=0)
        with_left, with_right = left.any((0, 1)), right.any((0, 1))
        sides.add("first" if left.sum() > right.sum() else "second")
        shared += (with_left ^ with_right).sum()
        assert with_left.any() or with_right.any()
    assert sides == {"first", "second"}
    assert shared > 20


def test_difficulty_lowers_the_best_flair_threshold():
    scores = []
    for difficulty in (0.0, 0.5, 1.0):
        cases = [normalised_flair(brain(case, difficulty)) for case in range(5)]
        scores.append(
            max(
                np.mean([2 * (label & (v > t)).sum() / (label.sum() + (v > t).sum()) for v, label in cases])
                for t in np.linspace(0, 0.8, 17)
            )
        )
    assert scores[0] > scores[1] + 0.1 > scores[2] + 0.2


def test_liver_is_deterministic_and_plausible():
    first, again = (liver_phantom((7, 0), **LIVER, with_lesions=True) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, again.label)
    assert first.image.dtype == np.int16
    assert first.image.shape == LIVER["shape"]
    assert nib.aff2axcodes(first.affine) == ("L", "P", "S")
    assert np.allclose(np.abs(np.diag(first.affine)[:3]), LIVER["spacing"])
    assert 700 < (first.label > 0).sum() * 0.36 < 2600, "liver volume in ml"
    assert 70 < first.image[first.label == 1].mean() < 135
    assert first.image[0, 0].mean() < -950, "air around the body"
    assert first.image.max() > 250, "bone"


def test_liver_lesions_are_darker_and_optional():
    drop = []
    for case in range(4):
        phantom = liver_phantom((7, case), **LIVER, difficulty=0.3, with_lesions=True)
        assert phantom.lesions >= 1
        drop.append(phantom.image[phantom.label == 1].mean() - phantom.image[phantom.label == 2].mean())
        lesion, organ = (phantom.label == 2).any((0, 1)), (phantom.label > 0).any((0, 1))
        assert lesion.any()
        assert (organ & ~lesion).any()
    assert np.mean(drop) > 10
    none = liver_phantom((7, 0), **LIVER, with_lesions=False)
    assert none.lesions == 0
    assert set(np.unique(none.label)) == {0, 1}


@pytest.mark.parametrize("make", [brain_phantom, liver_phantom])
def test_bad_options(make):
    with pytest.raises(ValueError, match="difficulty"):
        make(0, difficulty=1.5)
    with pytest.raises(ValueError, match="shape"):
        make(0, shape=(4, 60, 60))
    with pytest.raises(ValueError, match="positive"):
        make(0, spacing=-1.0)


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_brain_command_writes_brats_layout(tmp_path):
    options = ("--shape", "40,40,26", "--spacing", "6", "--seed", 3)
    many, few = tmp_path / "many", tmp_path / "few"
    result = run("brain", "--out", many, "--cases", 6, *options)
    assert result.exit_code == 0, result.output
    assert "wrote 6 brain phantoms" in result.output
    assert run("brain", "--out", few, "--cases", 1, *options).exit_code == 0
    assert sorted(p.name for p in many.iterdir()) == ["HGG", "LGG", "phantoms.json"]
    assert json.loads((many / "phantoms.json").read_text())["seed"] == 3
    assert not list(tmp_path.glob(".*")), "nothing temporary is left"
    for folder in (many / "HGG", many / "LGG"):
        for case in folder.iterdir():
            names = {f"{case.name}_{n}.nii.gz" for n in ("flair", "t1ce", "t1", "t2", "seg")}
            assert {p.name for p in case.iterdir()} == names
    for file in few.rglob("*.nii.gz"):
        one, same = nib.load(file), nib.load(many / file.relative_to(few))
        assert np.array_equal(one.dataobj, same.dataobj), "a case does not depend on the number of cases"
        assert np.allclose(one.header.get_zooms(), 6)


def test_share_of_brains_without_a_tumour(tmp_path):
    options = ("--shape", "40,40,26", "--spacing", "6", "--seed", 3)
    for name, cases, share in (("half", 6, 0.5), ("few", 3, 0.5), ("none", 3, 0)):
        result = run("brain", "--out", tmp_path / name, "--cases", cases, "--tumour-free", share, *options)
        assert result.exit_code == 0, result.output
    found = {
        name: {path.name: path.parent.name == "healthy" for path in (tmp_path / name).glob("*/*")}
        for name in ("half", "few", "none")
    }
    assert sum(found["half"].values()) == 3
    assert found["few"].items() <= found["half"].items()
    assert not any(found["none"].values())
    for case, healthy in found["half"].items():
        label = next((tmp_path / "half").glob(f"*/{case}/*_seg.nii.gz"))
        assert np.asarray(nib.load(label).dataobj).any() != healthy


def test_liver_command_writes_lits_layout(tmp_path):
    out = tmp_path / "lits"
    result = run("liver", "--out", out, "--cases", 7, "--shape", "40,40,16", "--spacing", "9.6,9.6,15")
    assert result.exit_code == 0, result.output
    assert "wrote 7 liver phantoms" in result.output
    assert len(list(out.glob("volume-*.nii.gz"))) == len(list(out.glob("segmentation-*.nii.gz"))) == 7
    labels = [set(np.unique(nib.load(p).dataobj)) for p in out.glob("segmentation-*.nii.gz")]
    assert {0, 1, 2} in labels
    assert all(found <= {0, 1, 2} for found in labels)


def gmm_dice(phantom):
    """Dice of the middle one of three Gaussians, as methods for healthy thighs find muscle."""
    mask, values = phantom.mask[..., 2:6], phantom.image[..., 2:6].reshape(-1, 1).astype(float)
    low, high = values.min(), values.max()
    groups = KMeans(3, init=[[low], [low + (high - low) / 6], [high]], n_init=1).fit(values)
    start = {
        "weights_init": np.bincount(groups.labels_) / len(values),
        "means_init": groups.cluster_centers_,
        "precisions_init": [[[1 / values[groups.labels_ == k].var()]] for k in range(3)],
    }
    mixture = GaussianMixture(3, **start).fit(values)
    found = (mixture.predict(values) == np.argsort(mixture.means_[:, 0])[1]).reshape(mask.shape)
    return 2 * (found & (mask > 0)).sum() / (found.sum() + mask.sum())


def test_thigh_form_and_contrast():
    first, again = (thigh_phantom((3, 0), grade="severe") for _ in range(2))
    assert np.array_equal(first.image, again.image)
    assert first.image.shape == (192, 96, 8)
    assert first.image.dtype == np.int16
    assert nib.aff2axcodes(first.affine) == ("L", "P", "S")
    assert np.allclose(np.abs(np.diag(first.affine)[:3]), (2, 2, 7))
    assert set(np.unique(first.mask)) == {0, 1}
    assert not first.fat[first.mask == 0].any()
    lean, replaced = first.image[(first.mask > 0) & (first.fat < 0.05)], first.image[first.fat > 0.9]
    assert np.median(replaced) > 2.2 * np.median(lean), "fat is bright and muscle dark"
    sides = [half.sum() for half in np.split(first.mask, 2, axis=0)]
    assert 0.8 < sides[0] / sides[1] < 1.25, "two legs"
    one = thigh_phantom((3, 0), (96, 96, 8), grade="severe", legs=1)
    assert 0.75 < one.mask.sum() / sides[0] < 1.3
    with pytest.raises(ValueError, match="healthy, minor, moderate, severe"):
        thigh_phantom(0, grade="grave")


def test_thigh_anatomy_does_not_tell_the_grade():
    masks = [thigh_phantom((3, 1), grade=grade).mask for grade in ("healthy", "severe")]
    assert np.array_equal(*masks)
    assert not np.array_equal(masks[0], thigh_phantom((3, 2)).mask)


def test_thigh_fat_grows_with_the_grade_and_defeats_a_mixture():
    fat, score = {}, {}
    for grade in ("healthy", "minor", "moderate", "severe"):
        phantoms = [thigh_phantom((0, case), grade=grade) for case in range(4)]
        fat[grade] = [p.fat[p.mask > 0].mean() for p in phantoms]
        score[grade] = np.median([gmm_dice(p) for p in phantoms])
    assert max(fat["minor"]) < 0.06 < 0.08 < min(fat["moderate"])
    assert np.mean(fat["moderate"]) + 0.15 < np.mean(fat["severe"]) < 0.75
    assert score["healthy"] > 0.92
    assert 0.5 < score["severe"] < 0.75


def test_severe_muscles_differ_and_some_are_all_fat():
    phantom = thigh_phantom((0, 4), grade="severe")
    blocks = phantom.fat.reshape(24, 8, 12, 8, 8).mean((1, 3))
    whole = phantom.mask.reshape(24, 8, 12, 8, 8).mean((1, 3)) > 0.95
    assert (blocks[whole] > 0.85).any()
    assert (blocks[whole] < 0.2).any()


def test_thigh_command_writes_a_folder_for_each_grade(tmp_path):
    out = tmp_path / "raw"
    result = run("thigh", "--out", out, "--cases", 5, "--legs", 1, "--shape", "48,48,8", "--spacing", "4,4,7")
    assert result.exit_code == 0, result.output
    assert "2 healthy, 1 minor, 1 moderate, 1 severe" in result.output
    names = {f"Phantom_00{case}{kind}.nii.gz" for case in (0, 4) for kind in ("", "_mask", "_fatfraction")}
    assert {path.name for path in (out / "healthy").iterdir()} == names
    assert nib.load(out / "severe" / "Phantom_003.nii.gz").shape == (48, 48, 8)
    wrong = run("thigh", "--out", tmp_path / "wrong", "--grades", "severe,grave", "--cases", 2)
    assert wrong.exit_code == 1
    assert "got grave" in str(wrong.exception) + wrong.output


HEART = {"shape": (64, 64, 52), "spacing": 3.0}


def heart(case, modality="ct", difficulty=0.5):
    return heart_phantom((7, case), modality, **HEART, difficulty=difficulty)


def regions(phantom):
    """Millilitres and signal of each labelled region."""
    voxel = abs(np.linalg.det(phantom.affine[:3, :3])) / 1000
    masks = {value: phantom.label == value for value in np.unique(phantom.label)[1:]}
    return {v: m.sum() * voxel for v, m in masks.items()}, {v: phantom.image[m].mean() for v, m in masks.items()}


def test_heart_is_a_function_of_seed_and_differs_between_modalities():
    first, again, other, mr = heart(0), heart(0), heart(1), heart(0, "mr")
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.label, again.label)
    ct_sizes, other_sizes, mr_sizes = (regions(phantom)[0] for phantom in (first, other, mr))
    for value in (205, 420, 500, 550, 600):
        assert abs(ct_sizes[value] / other_sizes[value] - 1) > 0.01
        assert abs(ct_sizes[value] / mr_sizes[value] - 1) > 0.01
    with pytest.raises(ValueError, match="ct or mr"):
        heart_phantom(0, "us")


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_heart_has_all_regions_in_plausible_sizes_and_places(modality):
    for case in range(4):
        phantom = heart(case, modality)
        sizes, _ = regions(phantom)
        assert set(sizes) == {205, 420, 500, 550, 600, 820, 850}
        assert all(25 < sizes[value] < 260 for value in (205, 420, 500, 550, 600)), sizes
        at = {
            value: nib.affines.apply_affine(phantom.affine, np.argwhere(phantom.label == value).mean(axis=0))
            for value in sizes
        }
        assert at[550][0] > at[500][0] + 25, "the right atrium is right of the left ventricle"
        assert at[600][1] > at[420][1] + 25, "the right ventricle is in front of the left atrium"
        assert at[820][2] > at[500][2] + 25, "the aorta is above the left ventricle"
        touching = (phantom.label[1:] == 500) & (phantom.label[:-1] == 205)
        assert touching.any()


def test_heart_ct_in_hounsfield_units_mr_in_any():
    bright, gains = [], []
    for case in range(4):
        ct, mr = heart(case), heart(case, "mr")
        _, hu = regions(ct)
        assert hu[500] > hu[600] > hu[205] > 40, "contrast is in the left heart first"
        assert np.percentile(ct.image, 2) < -780, "lung and air"
        assert nib.aff2axcodes(ct.affine) == ("L", "P", "S")
        _, signal = regions(mr)
        assert signal[500] > 1.35 * signal[205]
        assert np.percentile(mr.image, 20) < 0.3 * signal[500], "lungs are dark"
        bright.append(hu[500])
        gains.append(signal[500])
        oblique = np.abs(mr.affine[:3, :3] / np.linalg.norm(mr.affine[:3, :3], axis=0))
        assert oblique.max(axis=0).min() < 0.9999
    assert max(gains) > 1.3 * min(gains)
    assert np.ptp(bright) > 10


def test_heart_difficulty_buries_the_myocardium_in_noise():
    for modality in ("ct", "mr"):
        clear = []
        for difficulty in (0.0, 0.5, 1.0):
            phantom = heart(2, modality, difficulty)
            blood, muscle = (phantom.image[phantom.label == value].astype(float) for value in (600, 205))
            clear.append((blood.mean() - muscle.mean()) / np.sqrt(blood.var() + muscle.var()))
        assert clear[0] > clear[1] > clear[2] > 0.2, clear


def test_heart_command_writes_the_layout_of_mmwhs(tmp_path):
    options = ("--shape", "32,32,26", "--spacing", "6")
    many, few = tmp_path / "many", tmp_path / "few"
    result = run("heart", "--out", many, "--cases", 2, "--extra-ct", 1, *options)
    assert result.exit_code == 0, result.output
    assert "2 CT and MR, 1 CT only" in result.output
    names = {f"ct_train/ct_train_{n}_{kind}.nii.gz" for n in (1001, 1002, 1003) for kind in ("image", "label")}
    names |= {f"mr_train/mr_train_{n}_{kind}.nii.gz" for n in (1001, 1002) for kind in ("image", "label")}
    assert {str(path.relative_to(many)) for path in many.rglob("*.nii.gz")} == names
    assert run("heart", "--out", few, "--cases", 1, *options).exit_code == 0
    for file in few.rglob("*.nii.gz"):
        assert np.array_equal(nib.load(file).dataobj, nib.load(many / file.relative_to(few)).dataobj)
    labels = set(np.unique(nib.load(many / "mr_train" / "mr_train_1001_label.nii.gz").dataobj))
    assert labels <= {0, 205, 420, 500, 550, 600, 820, 850}


def test_command_does_not_remove_other_folders(tmp_path):
    options = ("--cases", 1, "--shape", "24,24,16", "--spacing", "10")
    mine = tmp_path / "mine"
    assert run("brain", "--out", mine, *options).exit_code == 0
    again = run("brain", "--out", mine, *options)
    assert again.exit_code == 1
    assert "--overwrite" in again.output
    assert run("brain", "--out", mine, *options, "--overwrite").exit_code == 0
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("keep")
    refused = run("brain", "--out", foreign, *options, "--overwrite")
    assert refused.exit_code == 1
    assert (foreign / "thesis.txt").read_text() == "keep"
    wrong = run("brain", "--out", tmp_path / "x", "--shape", "60,60")
    assert wrong.exit_code == 1
    assert "shape" in str(wrong.exception) + wrong.output
    assert not (tmp_path / "x").exists()
