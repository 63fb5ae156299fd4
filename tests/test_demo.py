"""The demo from its command to its picture, with few patients and updates."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from transeg.demo.steps import read_scores
from transeg.release.package import bundle_folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("options", "patients", "names"),
    [
        (("genseg", "--cases", "10", "--labelled", "0.3"), 1, {"untrained", "threshold on FLAIR", "GenSeg"}),
        (("thigh", "--cases", "16"), 2, {"GMM of the scans", "GMM of the translations"}),
    ],
    ids=["genseg", "thigh"],
)
def test_demo_scores_and_draws_held_out_patients(options, patients, names, tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "transeg.cli", "demo", *options, "--epochs", "1", "--out", str(out)]
    subprocess.run(command, check=True)
    summary = json.loads((out / "demo.json").read_text())
    assert set(summary["dice"]) == names
    assert all(len(dices) == patients and 0 <= min(dices) <= max(dices) <= 1 for dices in summary["dice"].values())
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
