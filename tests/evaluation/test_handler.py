import json
import subprocess
import sys

import pytest
from transeg.evaluation.rows import METHOD, read_rows
from transeg.files import EVALUATION

from tests.evaluation import handler_run


def test_cases_of_all_processes_count_and_so_do_those_that_fail(tmp_path):
    """LV and RV of a: Dice 1 and 2 / 3; of b: 2 / 3 and 1; c cannot be read."""
    alone, two = tmp_path / "alone", tmp_path / "two"
    for folder in (alone, two):
        folder.mkdir()
    handler_run.main(alone)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run([*command, handler_run.__file__, str(two)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((folder / f"rank{k}.json").read_text()) for folder, k in ((alone, 0), (two, 0), (two, 1))]
    assert ranks[0] == ranks[1] == ranks[2]
    assert ranks[0]["val_mean_dice"] == pytest.approx((5 / 6 + 5 / 6 + 0) / 3, abs=1e-6)
    assert ranks[0]["val_false_alarm_rate"] == pytest.approx((1 / 6 + 0 + 0) / 3, abs=1e-6)
    rows = [row for row in read_rows(two / "out" / "evaluation.csv") if row["method"] == METHOD]
    dice = {(row["case"], row["structure"]): row["dice"] for row in rows}
    assert dice == pytest.approx(
        {("a", "LV"): 1, ("a", "RV"): 2 / 3, ("b", "LV"): 2 / 3, ("b", "RV"): 1, ("c", "LV"): 0, ("c", "RV"): 0},
        abs=1e-6,
    )
    assert [row["mask"] for row in rows if row["case"] == "c"] == ["missing", "missing"]
    for name in EVALUATION:
        assert (two / "out" / name).read_text() == (alone / "out" / name).read_text()
