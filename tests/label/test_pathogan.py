"""The bundle of PathoGAN in the real MONAI Label server: a mask, a training with masks and without, the next mask."""

import json
import shutil

import numpy as np

from benchmarks.label_server import LabelServer, write_studies

from .test_server import ROOT, assert_same_grid, python, read  # noqa: F401 (fixture)

NAME = "brain_mri_pathogan_segmentation"
TALL = {"shape": (60, 60, 39), "spacing": 4.0, "difficulty": 0.0}  # training cuts 60 to 100 mm above the lowest slice


def test_masks_and_trainings_of_pathogan(python, tmp_path):  # noqa: F811
    studies = tmp_path / "studies"
    write_studies(studies, 3, 2, **TALL)
    bundle = shutil.copytree(ROOT / "bundles" / NAME, tmp_path / NAME, ignore=shutil.ignore_patterns("data", "eval"))
    train = bundle / "configs" / "train.json"
    train.write_text(json.dumps(json.loads(train.read_text()) | {"batches_per_epoch": 2}))
    with LabelServer(python, studies, bundle, tmp_path / "app") as server:
        assert json.loads(server.request("GET", "/info/").content)["models"][NAME]["labels"] == {"tumour": 1}
        mask = read(server.infer(NAME, "p2"), tmp_path / "mask.nii.gz")
        assert_same_grid(mask, studies / "p2.nii.gz")

        folder = tmp_path / "app" / "monaibundle" / "model" / NAME
        before = (folder / "models" / "model.pt").read_bytes()
        training = server.train(NAME, max_epochs=1, device="cpu")
        assert training["status"] == "DONE", "\n".join(training["details"])
        lists = json.loads((folder / "eval" / "slices" / "training" / "datalist.json").read_text())
        assert {item["case"] for item in lists["presence"] if "label" in item} <= {"p0", "p1"}
        assert {item["case"] for item in lists["absence"]} & {"p0", "p1"}
        assert lists["preparation"]["unlabelled studies"] == 1
        assert (folder / "models" / "model.pt").read_bytes() != before
        after = read(server.infer(NAME, "p2"), tmp_path / "after.nii.gz")
        assert_same_grid(after, studies / "p2.nii.gz")
        assert not np.array_equal(after.dataobj, mask.dataobj)
