"""Two contrasts of short-axis MR: no patient in two splits, thick slices as they are."""

import json

import nibabel as nib
import numpy as np
import pytest
from transeg.errors import UserError

from data_prep.mscmr import RECIPE, find_scans, prepare

AFFINES = {"C0": np.diag([-1.2, -1.2, 9.0, 1.0]), "LGE": np.diag([-0.8, -0.8, 5.0, 1.0])[[2, 0, 1, 3]]}
SHAPES = {"C0": (30, 24, 5), "LGE": (40, 40, 9)}


def write(folder, patient, contrast, labelled=True):
    rng = np.random.default_rng((patient, len(contrast)))
    label = np.zeros(SHAPES[contrast], np.int16)
    for value, thickness in ((600, 7), (200, 5), (500, 3)):
        middle = tuple(slice(max(0, n // 2 - thickness), n // 2 + thickness) for n in label.shape)
        label[middle] = value
    image = (label + rng.integers(0, 50, label.shape)).astype(np.int16)
    stem = folder / contrast / f"patient{patient}_{contrast}"
    stem.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, AFFINES[contrast]), f"{stem}.nii.gz")
    if labelled:
        nib.save(nib.Nifti1Image(label, AFFINES[contrast]), f"{stem}_manual.nii.gz")


@pytest.fixture
def raw(tmp_path):
    """10 patients with both contrasts, 2 with LGE alone, of which one is unlabelled."""
    for patient in range(12):
        for contrast in ("C0", "LGE") if patient < 10 else ("LGE",):
            write(tmp_path / "raw", patient, contrast, labelled=patient < 11)
    return tmp_path / "raw"


def test_both_contrasts_of_a_patient_are_in_one_split(raw, tmp_path):
    content = json.loads(prepare(raw, tmp_path / "out", size=(16, 16, 6)).read_text())
    patients = {
        split: [{item["case"].split("_")[0] for item in content[f"{split}_{domain}"]} for domain in ("c0", "lge")]
        for split in ("training", "validation", "test")
    }
    together = {split: c0 | lge for split, (c0, lge) in patients.items()}
    assert sum(map(len, together.values())) == len(set.union(*together.values())) == 12
    assert all(c0 and c0 <= lge for c0, lge in patients.values())
    assert content["recipe"] == RECIPE | {"image_size": [16, 16, 6], "pixdim": None}
    assert {item["domain"] for item in content["test_lge_volumes"]} == {"lge"}


def test_slices_are_resized_and_none_is_made_up(raw, tmp_path):
    path = prepare(raw, tmp_path / "out", size=(16, 16, 6))
    images, labels = (np.load(path.parent / kind / "patient0_C0.npy") for kind in ("images", "labels"))
    assert (images.shape, labels.shape) == ((1, 1, 16, 16, 6), (1, 16, 16, 6))
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    assert (images[0, 0, :, :, -1] == -1).all(), "five slices, padded to six"
    assert images[0, 0, :, :, :-1].min() > -1
    whole = np.load(path.parent / "labels" / "patient0_LGE.npy")[0]
    source = nib.load(raw / "LGE" / "patient0_LGE_manual.nii.gz").get_fdata()[:, :, 2:8]
    assert [set(np.unique(whole[..., z])) for z in range(6)] == [
        {{0: 0, 200: 1, 500: 2, 600: 3}[v] for v in np.unique(source[..., z])} for z in range(6)
    ]


def test_a_grid_in_mm_keeps_the_thickness_of_the_slices(raw, tmp_path):
    path = prepare(raw, tmp_path / "out", size=(20, 20, 5), voxel=(2.4, 2.4, -1))
    label = np.load(path.parent / "labels" / "patient0_C0.npy")[0]
    assert [int((label[..., z] > 0).any()) for z in range(5)] == [1, 1, 1, 1, 1]
    across = [np.ptp(np.argwhere(label[..., 2] > 0)[:, axis]) + 1 for axis in (0, 1)]
    assert across == [7, 7], "14 voxels of 1.2 mm"


def test_labels_of_one_contrast(raw, tmp_path, capsys):
    content = json.loads(prepare(raw, tmp_path / "out", size=(16, 16, 6), unlabelled_domain="lge").read_text())
    labelled = {
        key: sum("label" in item for item in items) for key, items in content.items() if isinstance(items, list)
    }
    assert labelled["training_lge"] == labelled["validation_lge"] == labelled["training_lge_volumes"] == 0
    assert labelled["test_lge"] >= 3
    assert labelled["training_c0"] == len(content["training_c0"])
    assert "C0  labelled" in capsys.readouterr().out


def test_a_missing_contrast_is_told(tmp_path):
    write(tmp_path, 1, "C0")
    with pytest.raises(UserError, match=r"no file ..._LGE.nii.gz found"):
        find_scans(tmp_path)
