"""The demo from its command to its picture, with few patients and updates."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from transeg.demo import bundle_folder, read_scores


@pytest.mark.timeout(900)
def test_demo_scores_and_draws_held_out_patients(tmp_path):
    out = tmp_path / "demo"
    options = ["--cases", "10", "--epochs", "1", "--labelled", "0.3"]
    subprocess.run([sys.executable, "-m", "transeg.cli", "demo", "--out", str(out), *options], check=True)
    summary = json.loads((out / "demo.json").read_text())
    assert set(summary["dice"]) == {"untrained", "threshold on FLAIR", "GenSeg"}
    assert all(len(dices) == 1 and 0 <= dices[0] <= 1 for dices in summary["dice"].values())
    picture = np.asarray(Image.open(out / "demo.png"))
    assert picture.shape[2] == 3
    assert picture.std() > 10
    assert (out / "models" / "model.pt").is_file()


def test_scores_are_read_from_what_monai_writes(tmp_path):
    (tmp_path / "raw.csv").write_text("filename,class0,mean\na.nii.gz,0.25,0.25\nb.nii.gz,0.75,0.5\n")
    assert read_scores(tmp_path / "raw.csv") == [0.25, 0.5]


def test_an_unknown_bundle_is_named():
    with pytest.raises(FileNotFoundError, match="bundles/nothing not found"):
        bundle_folder("nothing")
