"""The cardiac bundle in the real MONAI Label server: masks of CT and MR, a training with a study of each, new masks."""

import json
import shutil

import nibabel as nib
import numpy as np

from benchmarks.label_server import LabelServer, Study, write_studies
from data_prep.phantoms.heart import heart_phantom

from .test_server import ROOT, python, read  # noqa: F401 (fixture)

NAME = "cardiac_ct_mr_segmentation"
LABELS = {"myo": 1, "la": 2, "lv": 3, "ra": 4, "rv": 5}  # MONAI Label writes names small


def heart_study(k):
    """CT and MR in turn, under names that do not tell which."""
    phantom = heart_phantom((0, k), ("ct", "mr")[k % 2], (48, 48, 40), 4.0)
    return Study(phantom.image, phantom.label, phantom.affine)


def test_masks_and_trainings_of_both_modalities(python, tmp_path):  # noqa: F811
    studies = tmp_path / "studies"
    write_studies(studies, 4, 2, draw=heart_study)
    bundle = shutil.copytree(ROOT / "bundles" / NAME, tmp_path / NAME, ignore=shutil.ignore_patterns("data", "eval"))
    train = bundle / "configs" / "train.json"
    train.write_text(json.dumps(json.loads(train.read_text()) | {"batch_size": 1, "batches_per_epoch": 2}))
    with LabelServer(python, studies, bundle, tmp_path / "app") as server:
        assert json.loads(server.request("GET", "/info/").content)["models"][NAME]["labels"] == LABELS
        before = {name: answered_mask(server, studies, name, tmp_path) for name in ("p2", "p3")}

        folder = tmp_path / "app" / "monaibundle" / "model" / NAME
        weights = (folder / "models" / "model.pt").read_bytes()
        training = server.train(NAME, max_epochs=1, device="cpu")
        assert training["status"] == "DONE", "\n".join(training["details"])
        lists = json.loads((folder / "eval" / "slices" / "training" / "datalist.json").read_text())
        assert {item["case"]: item["modality"] for item in lists["presence"]} == {"p0": "ct", "p1": "mr"}
        terms = json.loads((folder / "eval" / "terms.jsonl").read_text().splitlines()[-1])
        assert {"generators/shape", "segmenters/synthetic"} <= terms.keys(), "one epoch is of the last phase"
        assert (folder / "models" / "model.pt").read_bytes() != weights
        after = {name: answered_mask(server, studies, name, tmp_path) for name in before}
        assert all(not np.array_equal(after[name], before[name]) for name in before)


def answered_mask(server, studies, name, folder):
    mask, image = read(server.infer(NAME, name), folder / f"{name}.nii.gz"), nib.load(studies / f"{name}.nii.gz")
    assert mask.shape == image.shape
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-3)
    values = np.unique(mask.dataobj)
    assert set(values) <= {0, *LABELS.values()}
    assert len(values) > 1
    return np.asarray(mask.dataobj)
