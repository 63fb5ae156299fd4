import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from transeg.data.datalist import read_datalist
from transeg.errors import CasesFailedError, DataError, VolumeError

from data_prep.lits import find_livers, fold_cases, lesion_width, liver_slices, prepare, weigh_by_position


def volume(seed=0):
    """Liver of 16 x 20 of 40 x 40 pixels in slices 2 to 9; lesions 8, 5 and 3 wide in slices 3, 4, 5."""
    rng = np.random.default_rng(seed)
    label = np.zeros((40, 40, 12), np.uint8)
    label[10:26, 5:25, 2:10] = 1
    label[12, 6:14, 3] = label[13:18, 8, 4] = label[12:15, 6:9, 5] = 2
    image = np.where(label > 0, 100, -900) - 40.0 * (label == 2) + rng.normal(size=label.shape)
    return image.astype(np.float32), label


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lits")
    for number in range(8):
        image, label = volume(number)
        place = folder / f"Training Batch {1 + number // 4}"
        place.mkdir(exist_ok=True)
        suffix = ".nii" if number % 2 else ".nii.gz"
        nib.Nifti1Image(image.astype(np.int16), np.diag([1.0, 1, 5, 1])).to_filename(place / f"volume-{number}{suffix}")
        nib.Nifti1Image(label, np.diag([1.0, 1, 5, 1])).to_filename(place / f"segmentation-{number}{suffix}")
    return folder


def test_slices_by_domain():
    slices = liver_slices(*volume(), size=32)
    assert [item["z"] for item in slices.fields] == [2, 3, 6, 7, 8, 9]
    assert slices.labels.any(axis=(1, 2)).tolist() == [False, True] + [False] * 4
    assert slices.dropped == {"little liver": 0, "small lesion": 2}
    assert [slices.fields[0]["position"], slices.fields[-1]["position"]] == [0.0625, 0.9375]
    assert slices.images.shape == (6, 1, 32, 32)
    assert liver_slices(*volume(), size=32, min_lesion=5).labels.any(axis=(1, 2)).sum() == 2
    assert liver_slices(*volume(), size=32, min_liver=0.2).dropped["little liver"] == 8  # the liver covers just 20 %


def test_intensities_are_normalised_in_the_liver_which_fills_the_slice():
    image, label = volume()
    slices = liver_slices(image, label, size=16, min_lesion=1)
    liver = image[label > 0]
    assert not np.isnan(slices.images).any()
    assert np.count_nonzero(slices.images) == slices.images.size
    lesion = slices.images[:, 0][slices.labels > 0].astype(float)
    expected = (60 - liver.mean()) / (5 * liver.std())
    assert lesion.min() == pytest.approx(expected, rel=0.1)
    healthy = slices.images[~slices.labels.any(axis=(1, 2))].astype(float)
    assert healthy.mean() == pytest.approx((100 - liver.mean()) / (5 * liver.std()), rel=0.05)


def test_outside_the_liver_is_zero():
    image, label = volume()
    label[10:14, 5:9] = 0
    slices = liver_slices(image, label, size=20)
    assert (slices.images[0, 0, :4, :2] == 0).all()


def test_lesion_width_is_that_of_the_widest_connected_one():
    lesion = np.zeros((20, 20), bool)
    lesion[1, 1:4] = lesion[1, 5:9] = True
    lesion[10:13, 10] = lesion[13:15, 11] = True
    assert lesion_width(lesion) == 5
    assert lesion_width(np.zeros((3, 3))) == 0


def test_weights_draw_absence_by_the_positions_of_presence():
    presence = [{"position": p} for p in (0.01, 0.02, 0.03, 0.99)]
    absence = [{"position": p} for p in (0.04, 0.045, 0.5, 0.96)]
    weigh_by_position(presence, absence)
    assert [item["weight"] for item in absence] == [0.375, 0.375, 0, 0.25]
    apart = [{"position": 0.5}]
    weigh_by_position(presence, apart)
    assert apart == [{"position": 0.5}]


def test_folds_are_disjoint_and_whole(raw):
    cases = find_livers(raw)
    tests = [fold_cases(cases, fold, seed=0) for fold in range(4)]
    assert Counter(name for names in tests for name in names) == {f"volume-{n}": 1 for n in range(8)}
    with pytest.raises(ValueError, match="--fold 4"):
        fold_cases(cases, 4, 0)


def test_prepared_lists(raw, tmp_path):
    path = prepare(raw, tmp_path, fold=1, size=32)
    lists = {
        key: read_datalist(path, key) for key in ("training", "training_absence", "validation", "test", "test_absence")
    }
    assert {key: len(items) for key, items in lists.items()} == {
        "training": 5,
        "training_absence": 25,
        "validation": 1,
        "test": 2,
        "test_absence": 10,
    }
    patients = [{item["case"] for key in keys for item in lists[key]} for keys in
                (("training", "training_absence"), ("validation",), ("test", "test_absence"))]  # fmt: skip
    assert sum(map(len, patients)) == len(set.union(*patients)) == 8
    assert sum("label" in item for item in lists["training"]) == 1
    assert all("weight" in item or len(lists["training"]) for item in lists["training_absence"])
    items = [(item["case"], item["z"]) for key in lists for item in lists[key]]
    assert len(items) == len(set(items))
    [first, *_] = read_datalist(path, "test_volumes")
    assert Path(first["image"]).is_file()
    assert json.loads(path.read_text())["recipe"] == {
        "method": "genseg",
        "channels": ["CT"],
        "image_size": [32, 32],
        "pixdim": None,
        "halves": False,
        "labels": ["background", "lesion"],
        "label_values": {"lesion": [2], "background": [1]},
        "min_liver": 0.06,
        "min_lesion": 6,
        "num_std": 5.0,
        "zero_background": True,
    }


def test_bad_volumes_are_listed_and_the_others_done(raw, tmp_path):
    for file in raw.rglob("*.nii*"):
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "segmentation-1.nii").unlink()
    image, _ = volume()
    (tmp_path / "segmentation-3.nii").unlink()
    nib.Nifti1Image(np.zeros(image.shape, np.uint8), np.diag([1.0, 1, 5, 1])).to_filename(
        tmp_path / "segmentation-3.nii"
    )
    with pytest.raises(CasesFailedError, match=r"(?s)2 of 8.*no segmentation-1.*segmentation-3\.nii: no liver"):
        prepare(tmp_path, tmp_path / "out", size=32)
    assert (tmp_path / "out" / "datalist.json").is_file()


def test_missing_liver_and_empty_folder(tmp_path):
    with pytest.raises(VolumeError, match="no liver"):
        liver_slices(np.zeros((4, 4, 2)), np.zeros((4, 4, 2)))
    with pytest.raises(DataError, match="no scan found"):
        find_livers(tmp_path)
