"""The quick demo from its command to its picture."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from transeg.demo.steps import read_scores
from transeg.evaluation.rows import METHOD, write_rows
from transeg.methods.pathogan.demo import read_patients, threshold_dice
from transeg.metrics.scores import MaskScore


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("options", "patients", "names"),
    [
        (("genseg", "--labelled", "0.3"), 1, {"untrained", "threshold on FLAIR", "GenSeg"}),
        (("thigh",), 2, {"GMM of the scans", "GMM of the translations"}),
        (("pathogan",), 1, {"untrained", "threshold on FLAIR", "PathoGAN"}),
        (("cardiac",), 2, {"untrained", "MR alone", "CT and MR together"}),
    ],
    ids=["genseg", "thigh", "pathogan", "cardiac"],
)
def test_demo_scores_and_draws_held_out_patients(options, patients, names, tmp_path):
    out = tmp_path / "demo"
    command = [sys.executable, "-m", "transeg.cli", "demo", *options, "--quick", "--out", str(out)]
    subprocess.run(command, check=True)
    summary = json.loads((out / "demo.json").read_text())
    assert set(summary["dice"]) == names
    assert all(len(dices) == patients and 0 <= min(dices) <= max(dices) <= 1 for dices in summary["dice"].values())
    picture = np.asarray(Image.open(out / "demo.png"))
    assert picture.shape[2] == 3
    assert picture.std() > 10
    assert (out / "run" / "models" / "model.pt").is_file()


def test_scores_are_read_from_an_evaluation(tmp_path):
    rows = []
    for case, values in {"a": (0.25, 0.75), "b": (0.5, math.nan)}.items():
        for structure, value in zip(("LV", "RV"), values, strict=True):
            score = MaskScore(value, *[0.0] * (len(MaskScore._fields) - 1))._asdict()
            about = {"method": METHOD, "run": 1, "case": case, "patient": case, "structure": structure}
            rows.append({**about, "mask": "", "seen": "", **score})
    write_rows(tmp_path / "evaluation.csv", rows)
    assert read_scores(tmp_path) == [0.5, 0.5]


def test_patients_without_a_tumour_slice_have_no_score(tmp_path):
    (tmp_path / "patients.csv").write_text("case,dice,dice_all\na,0.2500,0.2000\nb,,0.0000\n")
    assert read_patients(tmp_path / "patients.csv") == {"a": 0.25}


def test_the_threshold_is_that_of_the_validation(tmp_path):
    """Of the values 1, 2 and 3 the lesions for validation are all above 1, those of the test all above 2."""
    lists = {}
    for key, lesion in (("validation", 2), ("test", 3)):
        image = np.array([[[[1, 2], [3, 3]], [[9, 9], [9, 9]]]], np.float16)  # another channel is not looked at
        np.save(tmp_path / f"{key}.npy", image)
        np.save(tmp_path / f"{key}_label.npy", (image[:, 0] >= lesion).astype(np.uint8))
        lists[key] = [{"image": f"{key}.npy", "label": f"{key}_label.npy", "index": 0, "case": key}]
    (tmp_path / "datalist.json").write_text(json.dumps(lists))
    assert threshold_dice(tmp_path) == {"test": pytest.approx(2 * 2 / (3 + 2))}
    (tmp_path / "datalist.json").write_text(json.dumps({**lists, "test": []}))
    with pytest.raises(ValueError, match="no patient for test has a slice with tumour; take more --cases"):
        threshold_dice(tmp_path)
