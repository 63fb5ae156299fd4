import csv
import json
import subprocess
import sys

import pytest
import torch
from monai.data import MetaTensor
from monai.handlers import StatsHandler

from tests.methods.pathogan import slice_evaluation
from tests.methods.pathogan.slice_evaluation import case, cases, column, evaluator, volume

FILES = ("slices.csv", "patients.csv", "slices_summary.json")
DIAGONAL = 10.0  # of 6 x 8 pixels


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_of_an_evaluation(tmp_path):
    later = []
    engine = evaluator(
        cases(), tmp_path, StatsHandler(epoch_print_logger=lambda it: later.append(dict(it.state.metrics)))
    )
    engine.run()
    slices = {(row["case"], int(row["z"])): row for row in rows(tmp_path / "slices.csv")}
    # slices 0 and 5 are outside of what is looked at; slice 3 of b has 3 pixels of 4 mm2, not more than 12 mm2
    assert sorted(slices) == sorted(
        [("a", z) for z in (1, 2, 3, 4)] + [("b", z) for z in (1, 2, 4)] + [("c", z) for z in (1, 2, 3, 4)]
    )
    hit, missed, alarm = slices["a", 2], slices["b", 1], slices["c", 4]
    assert float(hit["dice"]) == pytest.approx(8 / 12, abs=1e-4)
    assert float(hit["avd"]) == pytest.approx((1 + 2 + 3 + 4) / 8)  # in pixels, not mm
    assert (missed["empty_prediction"], float(missed["dice"]), float(missed["hd95"])) == ("1", 0, DIAGONAL)
    assert (alarm["false_alarm"], alarm["predicted_pixels"], alarm["dice"]) == ("1", "2", "")

    patients = {row["case"]: row for row in rows(tmp_path / "patients.csv")}
    assert list(patients) == ["a", "b", "c"]
    assert patients["c"] == {
        "case": "c",
        "dice": "",
        "dice_all": "0.0000",
        "pathological_slices": "0",
        "healthy_slices": "4",
        "left_out_slices": "0",
        "empty_predictions": "0",
        "false_alarms": "1",
    }
    assert (patients["b"]["left_out_slices"], patients["b"]["empty_predictions"]) == ("1", "1")

    summary = json.loads((tmp_path / "slices_summary.json").read_text())
    assert (summary["first"], summary["last"], summary["min_area"]) == (2, 10, 12)
    assert (summary["pathological_slices"], summary["empty_predictions"]) == (2, 1)
    assert summary["false_alarm_rate"] == pytest.approx(2 / 9)
    assert summary["slice_avd"]["mean"] == pytest.approx((1.25 + DIAGONAL) / 2)
    assert engine.state.metrics["val_slice_dice"] == pytest.approx(1 / 3)
    assert engine.state.metrics["val_patient_dice"] == pytest.approx(1 / 3)
    assert engine.state.metrics["val_empty_predictions"] == 1
    assert later == [engine.state.metrics]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_a_second_evaluation_replaces_the_first(tmp_path):
    evaluator(cases(), tmp_path).run()
    engine = evaluator(cases()[1:2], tmp_path)
    for _ in range(2):
        engine.run()
    assert [row["case"] for row in rows(tmp_path / "patients.csv")] == ["c"]
    summary = json.loads((tmp_path / "slices_summary.json").read_text())
    assert summary["slice_dice"] == {"mean": None, "std": None, "median": None}


def test_two_processes_write_what_one_does(tmp_path):
    alone, together = tmp_path / "alone", tmp_path / "together"
    evaluator(cases(), alone).run()
    together.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = [slice_evaluation.__file__, str(together)]
    done = subprocess.run([*command, *script], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    for name in FILES:
        assert (together / name).read_text() == (alone / name).read_text()
    metrics = [json.loads((together / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert metrics[0] == metrics[1]
    assert metrics[0]["val_slice_dice"] == pytest.approx(1 / 3)


def test_what_is_not_a_mask_on_the_preprocessed_grid_is_told(tmp_path):
    items = cases()[2:]
    with pytest.raises(ValueError, match=r"a: pred .*\(1, 6, 8, 3\).*before Invertd"):
        evaluator(items, tmp_path, pred_key="pred").run()
    with pytest.raises(ValueError, match=r"a: image and label must be 0 or 1; threshold"):
        evaluator(items, tmp_path, pred_key="image").run()
    with pytest.raises(ValueError, match="two cases have this name"):
        evaluator(items * 2, tmp_path).run()
    flipped = case("a", volume(), volume(z2=column(1, 8)))
    flipped["label"] = MetaTensor(flipped["label"].as_tensor(), affine=torch.diag(torch.tensor([-2.0, 2.0, 2.0, 1.0])))
    with pytest.raises(ValueError, match="LAS"):
        evaluator([flipped], tmp_path).run()
    assert not list(tmp_path.iterdir())


def test_a_volume_without_such_slices_is_told(tmp_path, caplog):
    engine = evaluator(cases()[:1], tmp_path, first=60.0, last=100.0)
    engine.run()
    assert "b: no slices to score from 60 to 100 mm" in caplog.text
    assert rows(tmp_path / "slices.csv") == []
