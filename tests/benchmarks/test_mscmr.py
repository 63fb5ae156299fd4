"""Two contrasts of the heart: what needs no training, scores and means."""

import nibabel as nib
import numpy as np
import pytest

from benchmarks.mscmr import CEILING, MATCHED, OWN, PLAIN, SHAPE, match, mean_shape, read_labels, score, summary


@pytest.fixture
def scans(tmp_path):
    """Items of two scans; the second is three times as bright."""
    rng, items = np.random.default_rng(0), []
    for k in range(2):
        labels = np.zeros((20, 20, 4), np.int16)
        labels[5 : 10 + k, 5:10] = 500
        image = (100 + labels + 10 * rng.random(labels.shape)) * (1 + 2 * k)
        paths = [tmp_path / f"patient{k}_{kind}.nii.gz" for kind in ("image", "label")]
        for path, volume in zip(paths, (image.astype(np.float32), labels), strict=True):
            nib.save(nib.Nifti1Image(volume, np.eye(4)), path)
        items.append({"case": f"patient{k}", "image": [str(paths[0])], "label": str(paths[1])})
    return items


def test_the_mean_shape_is_what_most_scans_have_there(scans):
    found = mean_shape([read_labels(scans[k]) for k in (0, 0, 1)], (20, 20, 8))
    assert found.shape == (20, 20, 8)
    assert (found[5:10, 5:10] == 2).all(), "LV"
    assert (found == 2).sum() == 5 * 5 * 8


def test_a_matched_histogram_is_that_of_the_references(scans, tmp_path):
    folder = match(scans[1:], scans[:1], tmp_path / "matched")
    found = nib.load(folder / "patient1.nii.gz").get_fdata()
    assert 90 < np.median(found) < 120
    assert (folder / "cases.csv").read_text() == f"case,image\npatient1,{folder / 'patient1.nii.gz'}\n"


def test_scores_and_means_by_hand():
    labels, mask = np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int)
    labels[0], mask[0, 0] = 2, 2  # 4 and 2 voxels of LV
    assert score(mask, labels)[1] == pytest.approx(2 * 2 / (4 + 2))
    draw = {
        method: {"a": [0.1 * k, 0.2 * k, 0.3 * k]} for k, method in enumerate((SHAPE, PLAIN, MATCHED, OWN, CEILING))
    }
    figures = summary({0: draw, 1: draw})
    assert figures[OWN] == {"mean": 0.6, "Myo": 0.3, "LV": 0.6, "RV": 0.9, "draws": [0.6, 0.6]}
    assert figures["difference"][f"{OWN} - {PLAIN}"] == {"mean": 0.4, "interval": [0.4, 0.4], "n": 2}
