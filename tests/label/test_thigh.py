"""The thigh's bundle in the real MONAI Label server: a mask, a training with masks and without, the next mask."""

import json
import shutil

import numpy as np

from benchmarks.label_server import LabelServer, Study, write_studies
from data_prep.phantoms.thigh import thigh_phantom

from .test_server import ROOT, assert_same_grid, python, read  # noqa: F401 (fixture)

NAME = "thigh_mri_muscle_segmentation"
GRADES = ("severe", "healthy", "severe", "healthy")


def thigh_study(k):
    phantom = thigh_phantom((0, k), shape=(96, 48, 8), spacing=(4.0, 4.0, 7.0), grade=GRADES[k])
    return Study(phantom.image, phantom.mask, phantom.affine)


def test_masks_and_trainings_of_the_thigh(python, tmp_path):  # noqa: F811
    studies = tmp_path / "studies"
    write_studies(studies, 4, 2, draw=thigh_study)
    bundle = shutil.copytree(ROOT / "bundles" / NAME, tmp_path / NAME, ignore=shutil.ignore_patterns("data", "eval"))
    train = bundle / "configs" / "train.json"
    train.write_text(json.dumps(json.loads(train.read_text()) | {"batches_per_epoch": 2}))
    with LabelServer(python, studies, bundle, tmp_path / "app") as server:
        assert json.loads(server.request("GET", "/info/").content)["models"][NAME]["labels"] == {"muscle": 1}
        mask = read(server.infer(NAME, "p2"), tmp_path / "mask.nii.gz")
        assert_same_grid(mask, studies / "p2.nii.gz")
        assert np.count_nonzero(mask.dataobj) > 1000

        folder = tmp_path / "app" / "monaibundle" / "model" / NAME
        before = (folder / "models" / "model.pt").read_bytes()
        training = server.train(NAME, max_epochs=1, device="cpu")
        assert training["status"] == "DONE", "\n".join(training["details"])
        lists = json.loads((folder / "eval" / "slices" / "training" / "datalist.json").read_text())
        assert {item["case"] for item in lists["presence"] if "label" in item} == {"p0"}
        assert {item["case"] for item in lists["absence"]} >= {"p1"}
        assert (folder / "models" / "model.pt").read_bytes() != before
        assert_same_grid(read(server.infer(NAME, "p2"), tmp_path / "after.nii.gz"), studies / "p2.nii.gz")


def test_no_bundle_is_left_out():
    texts = "".join(path.read_text() for path in (ROOT / "tests" / "label").glob("test_*.py"))
    bundles = {path.parents[1].name for path in ROOT.glob("bundles/*/configs/inference.json")}
    assert not {name for name in bundles if f'NAME = "{name}"' not in texts}
