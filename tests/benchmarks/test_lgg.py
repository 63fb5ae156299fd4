"""Results of whole patients of TCGA-LGG: methods and seeds may be added."""

import json

import pytest

from benchmarks.lgg import SPLITS, write

KEPT = {"test_volumes": 2}


def scores(*dices):
    return {"dice": list(dices), "false_alarms": [0.5, 0.0], "sensitivity": [1.0, 1.0]}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    lists = {f"{split}_volumes": [{"case": f"{split} {k}"} for k in range(2)] for split in SPLITS}
    (tmp_path / "datalist.json").write_text(json.dumps({"preparation": {"kept": KEPT}} | lists))
    return tmp_path


def test_seeds_and_methods_are_added_to_an_earlier_result(data):
    write("one", "own", data, {"threshold": {0: scores(0.1, 0.3)}, "own": {0: scores(0.4, 0.6)}}, {"epochs": 2})
    write("one", "own", data, {"other": {1: scores(0.2, 0.2)}}, {"epochs": 2}, add=True)
    path = write("one", "own", data, {"own": {1: scores(0.6, 0.8)}}, {"epochs": 2}, add=True)
    result = json.loads(path.read_text())
    figures = result["figures"]
    assert result["seeds"] == [0, 1]
    assert figures["patients"]["test"] == ["test 0", "test 1"]
    assert figures["own"] == {
        "mean": 0.6, "median": 0.6, "seeds": [0.5, 0.7], "false_alarms": 0.25, "sensitivity": 1.0
    }  # fmt: skip
    assert figures["difference"]["threshold"] == {"mean": 0.4, "interval": [0.4, 0.4], "n": 2}
    assert figures["difference"]["other"]["mean"] == 0.4
    assert figures["scores"]["own"]["1"]["dice"] == [0.6, 0.8]


def test_what_was_made_otherwise_is_not_added(data):
    write("one", "own", data, {"own": {0: scores(0.4, 0.6)}}, {"epochs": 2})
    with pytest.raises(ValueError, match="cannot be added"):
        write("one", "own", data, {"own": {1: scores(0.4, 0.6)}}, {"epochs": 3}, add=True)
