import nibabel as nib
import numpy as np
import pytest
from transeg.data.studies import StudySlices
from transeg.methods.pathogan.slices import ImageLevelSlices

from tests.recipes import BRAIN

RECIPE = BRAIN | {"image_size": [32, 32], "num_std": 3.0, "zero_background": False, "first": 8, "last": 26}


def write(folder, tumour=True):
    """Voxels of 2 mm: brain up to slice 11; tumours of 1 and 9 pixels in slices 5 and 6, of 6 pixels in slice 9."""
    rng = np.random.default_rng(0)
    brain, label = np.zeros((30, 30, 14)), np.zeros((30, 30, 14), np.uint8)
    brain[5:25, 3:27, :12] = 1
    if tumour:
        label[10, 10, 5] = label[10:13, 10:13, 6] = label[10:13, 10:12, 9] = 2
    image = np.stack([brain * rng.normal(400, 100, brain.shape).clip(min=1) + 150.0 * label for _ in range(2)], -1)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[2, 3] = -40  # heights count from the lowest slice, wherever the scanner puts it
    item = {"image": str(folder / "scan.nii.gz"), "label": str(folder / "seg.nii.gz")}
    nib.Nifti1Image(image.astype(np.float32), affine).to_filename(item["image"])
    nib.Nifti1Image(label, affine).to_filename(item["label"])
    return item


def test_slices_by_height_and_area(tmp_path):
    cut = ImageLevelSlices(RECIPE)
    slices = cut(write(tmp_path))
    assert [item["z"] for item in slices.fields] == [4, 6, 7, 8, 9, 10, 11]
    assert slices.dropped == {"out of range": 4, "no foreground": 2, "small lesion": 1}  # 1 pixel is 4 mm^2
    assert slices.labels.sum(axis=(1, 2)).tolist() == [0, 9, 0, 0, 6, 0, 0]
    assert slices.images.shape == (7, 2, 32, 32)
    larger = ImageLevelSlices(RECIPE | {"min_lesion": 24})  # 6 pixels are 24 mm^2, which does not exceed it
    assert larger(write(tmp_path)).dropped["small lesion"] == 2


@pytest.mark.parametrize("zero_background", [False, True])
def test_intensities_and_background(tmp_path, zero_background):
    images = ImageLevelSlices(RECIPE | {"first": 0, "zero_background": zero_background})(
        write(tmp_path, tumour=False)
    ).images
    inside = images[:, :, 8:24, 6:26].astype(np.float32)
    assert abs(inside.mean()) < 0.01
    assert abs(inside.std() - 1 / 3) < 0.01
    assert np.abs(images).max() == 1
    assert (images[:, :, :4] == (0 if zero_background else -1)).all()


def test_slices_without_label_are_sorted_by_what_is_sure():
    probability = np.full((4, 30, 30), 0.05)
    probability[0, 3, 10:16] = 0.6  # 24 mm^2
    probability[1, 3, 10:15] = 0.6  # 20 mm^2
    probability[2, 3, 10] = 0.2
    shows, free = ImageLevelSlices(RECIPE).assign_domain(np.zeros((4, 2, 30, 30), np.float16), probability)
    assert shows.tolist() == [True, False, False, False]
    assert free.tolist() == [False, False, False, True]


def test_studies_with_labels_become_both_domains(tmp_path):
    studies = StudySlices([write(tmp_path)], ImageLevelSlices(RECIPE), lambda items: None, tmp_path / "cut")
    presence, absence = studies.training()
    assert [[item["z"] for item in items] for items in (presence, absence)] == [[6, 9], [4, 7, 8, 10, 11]]


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="from 100 to 60 mm"):
        ImageLevelSlices(RECIPE | {"first": 100, "last": 60})


def test_image_level_labels_tell_the_domain(tmp_path):
    item = write(tmp_path)
    del item["label"]
    cut = ImageLevelSlices(RECIPE | {"first": 0, "last": None})
    some = cut(item | {"presence": [[5, 6], [9, 9]]})
    assert some.labels is None
    assert [field["z"] for field, shown in zip(some.fields, some.present, strict=True) if shown] == [5, 6, 9]
    assert len(some.fields) == 12
    assert cut(item | {"presence": True}).present.all()
    assert not cut(item | {"presence": False}).present.any()
