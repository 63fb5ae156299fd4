import nibabel as nib
import numpy as np
import pytest
from transeg.data.slices import write_slices
from transeg.data.studies import StudySlices
from transeg.methods.pathogan.volumes import ImageLevelVolumes

from tests.recipes import BRAIN

RECIPE = BRAIN | {"image_size": [32, 32, 16], "num_std": 3.0, "zero_background": False, "min_lesion": 200}


def write(folder, tumour=(3, 3, 3), depth=14):
    """Voxels of 2 mm; the brain is off the middle and taller than a volume of 16 voxels where `depth` is 22."""
    rng = np.random.default_rng(0)
    brain, label = np.zeros((30, 30, depth)), np.zeros((30, 30, depth), np.uint8)
    brain[9:25, 3:27, : depth - 2] = 1
    x, y, z = tumour
    label[10 : 10 + x, 10 : 10 + y, 5 : 5 + z] = 2
    image = np.stack([brain * rng.normal(400, 100, brain.shape).clip(min=1) + 150.0 * label for _ in range(2)], -1)
    item = {"image": str(folder / "scan.nii.gz"), "label": str(folder / "seg.nii.gz")}
    nib.Nifti1Image(image.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(item["image"])
    nib.Nifti1Image(label, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(item["label"])
    return item


@pytest.mark.parametrize(("depth", "brain_z"), [(14, (2, 14)), (22, (0, 16))], ids=["padded", "cropped"])
def test_one_volume_with_the_brain_in_its_middle(tmp_path, depth, brain_z):
    cut = ImageLevelVolumes(RECIPE)
    volumes = cut(write(tmp_path, depth=depth))
    assert volumes.images.shape == (1, 2, 32, 32, 16)
    assert volumes.labels.shape == (1, 32, 32, 16)
    assert volumes.labels.sum() == 27
    found = np.argwhere(volumes.images[0, 0] > -1)
    low, high = found.min(axis=0), found.max(axis=0) + 1
    assert [(8, 24), (4, 28), brain_z] == list(zip(low.tolist(), high.tolist(), strict=True))


@pytest.mark.parametrize(
    ("tumour", "lists"), [((3, 3, 3), (1, 0)), ((0, 0, 0), (0, 1)), ((5, 5, 1), (0, 0))], ids=["ill", "well", "neither"]
)
def test_domain_by_the_volume_of_the_tumour(tmp_path, tumour, lists):
    volumes = ImageLevelVolumes(RECIPE)(write(tmp_path, tumour))  # 25 voxels are 200 mm^3
    found = write_slices(tmp_path / "out", "case", volumes)
    assert tuple(map(len, found)) == lists
    assert volumes.dropped == {"small lesion": int(lists == (0, 0))}
    assert not [item for items in found for item in items if "label" in item]


def test_volumes_without_label_are_sorted_by_what_is_sure():
    probability = np.full((3, 8, 8, 8), 0.05)
    probability[0, :3, :3, :3] = 0.6
    probability[1, :5, :5, 0] = 0.6
    shows, free = ImageLevelVolumes(RECIPE).assign_domain(np.zeros((3, 2, 8, 8, 8), np.float16), probability)
    assert shows.tolist() == [True, False, False]
    assert free.tolist() == [False, False, True]


def test_studies_become_volumes(tmp_path):
    studies = StudySlices([write(tmp_path)], ImageLevelVolumes(RECIPE), lambda items: None, tmp_path / "cut")
    presence, absence = studies.training()
    assert [len(presence), len(absence)] == [1, 0]
    assert np.load(presence[0]["label"]).shape == (1, 32, 32, 16)


def test_size_of_slices_is_refused():
    with pytest.raises(ValueError, match="three numbers"):
        ImageLevelVolumes(BRAIN)
