"""Whole studies, as MONAI Label gives them, become slices of both domains."""

import logging

import nibabel as nib
import numpy as np
import pytest
from transeg.data.datasets import SliceDataset, UnpairedDataset
from transeg.data.studies import StudySlices, studies_without_label
from transeg.errors import StudiesError
from transeg.methods.genseg.slices import LesionSlices
from transeg.transforms.slices import LoadSliced

from tests.recipes import BRAIN

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
EXTRACTOR = LesionSlices(BRAIN | {"image_size": [32, 32], "halves": True, "min_foreground": 0.25})


def write_study(folder, name, label=True):
    """A box of brain, a cube in its left half that is bright in the first channel; only some studies have a label."""
    rng = np.random.default_rng(sum(name.encode()))
    brain, tumour = np.zeros((28, 28, 10)), np.zeros((28, 28, 10), np.uint8)
    brain[2:26, 4:24, 1:9] = 1
    tumour[16:22, 8:14, 3:6] = 1
    channels = [brain * (100 + 5 * rng.normal(size=brain.shape)) + bright * tumour for bright in (200, 0)]
    image, final = folder / f"{name}.nii.gz", folder / "labels" / "final" / f"{name}.nii.gz"
    final.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.stack(channels, axis=-1).astype(np.float32), AFFINE), image)
    if label:
        nib.save(nib.Nifti1Image(tumour, AFFINE), final)
    return {"image": str(image), "label": str(final)}


def predict(items):
    """Sure of the bright cube, sure of nothing else but in the topmost slices."""
    slices = [LoadSliced()(dict(item)) for item in items]
    sure = np.stack([(item["image"][0] > 0.5).numpy() for item in slices]).astype(float)
    sure[[item["z"] == 8 for item in items]] = 0.3
    return sure


@pytest.fixture
def folder(tmp_path):
    """Two labelled studies and one that is not."""
    data = [write_study(tmp_path, "a"), write_study(tmp_path, "b.1")]
    write_study(tmp_path, "b", label=False)
    return tmp_path, data


def test_both_domains_with_and_without_labels(folder):
    root, data = folder
    studies = StudySlices(data, EXTRACTOR, predict, root / "slices")
    dataset = UnpairedDataset(data, [], LoadSliced(), studies)
    kinds = {(item["case"], "label" in item, item["z"], item["side"]) for item in dataset.data}
    assert kinds == {(case, case != "b", z, "left") for case in ("a", "b", "b.1") for z in (3, 4, 5)}
    free = {(item["case"], item["z"], item["side"]) for item in dataset.absence}
    everywhere = {(z, side) for z in range(1, 9) for side in ("left", "right")} - {(z, "left") for z in (3, 4, 5)}
    assert free == {(case, *place) for case in ("a", "b", "b.1") for place in everywhere if case != "b" or place[0] < 8}
    item = dataset[0, 0]
    assert item["labelled"]
    assert item["label"].sum() == 6 * 6
    assert item["image"].shape == item["absence"].shape == (2, 16, 32)
    validation = SliceDataset([], LoadSliced(), studies)
    assert len(validation) == 2 * 16
    assert sum(item["labelled"] for item in validation) == 2 * 3


def test_without_weights_or_absence_domain_only_labels_count(folder):
    root, data = folder
    studies = StudySlices(data[:1], EXTRACTOR, lambda items: None, root / "slices")
    dataset = UnpairedDataset(data[:1], None, LoadSliced(), studies)
    assert {item["case"] for item in dataset.data} == {"a"}
    assert dataset.absence is None
    assert {item["case"] for item in SliceDataset(data[1:], LoadSliced(), studies).data} == {"b.1"}


def test_slices_are_used_as_they_are():
    items = [{"image": "a.npy", "index": 0}]
    studies = StudySlices(items, EXTRACTOR, predict, "nowhere")
    assert UnpairedDataset(items, items, LoadSliced(), studies).data is items
    assert SliceDataset(items, LoadSliced(), studies).data is items
    assert SliceDataset([], LoadSliced(), studies).data == []


def test_a_bad_study_is_left_out_and_named(folder, caplog):
    root, data = folder
    (root / "a.nii.gz").write_bytes((root / "a.nii.gz").read_bytes()[:500])
    with caplog.at_level(logging.ERROR):
        presence, _ = StudySlices(data, EXTRACTOR, predict, root / "slices").training()
    assert {item["case"] for item in presence} == {"b", "b.1"}
    assert "a failed" in caplog.text
    with pytest.raises(StudiesError, match="none of the 1 labelled studies is readable"):
        StudySlices(data[:1], EXTRACTOR, predict, root / "slices").training()


def test_no_label_at_all_is_told(tmp_path):
    with pytest.raises(StudiesError, match="in MONAI Label submit a label"):
        UnpairedDataset([], [], LoadSliced(), StudySlices([], EXTRACTOR, predict, tmp_path))


def test_studies_are_not_looked_for_where_labels_lie_beside_images(folder):
    root, data = folder
    assert [item["image"] for item in studies_without_label(data)] == [str(root / "b.nii.gz")]
    assert studies_without_label([{"image": str(root / "a.nii.gz"), "label": str(root / "b.nii.gz")}]) == []


def test_masks_and_former_results_are_no_studies(folder):
    root, data = folder
    for name in ("c.NII.GZ", "c_seg.nii.gz", "c_prob.nii.gz", ".d.nii.gz", "below/e.nii.gz"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    assert [item["image"] for item in studies_without_label(data)] == [str(root / "b.nii.gz"), str(root / "c.NII.GZ")]
