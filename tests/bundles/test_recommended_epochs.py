"""Every bundle recommends an epoch without labels, and keeps its weights on demand."""

import pytest
import torch
from transeg.bundle.epochs import read_epochs, recommended

from .conftest import read_config
from .test_run_folders import trained
from .test_workflows import copy, slices  # noqa: F401 (fixtures)

ONE_PHASE = {"segmenter_epochs": 0, "translation_epochs": 0}
WEIGHTS, TABLE = "models/model.pt", "logs/epochs.csv"


@pytest.fixture
def train(copy, slices):  # noqa: F811
    known = read_config(copy, "train.json").keys()
    small = {key: value for key, value in {**ONE_PHASE, "trust_scans": 1}.items() if key in known}
    return lambda run, **options: trained(copy, slices, run, **small, **options)


def same(first, second):
    first, second = (torch.load(path, weights_only=True) for path in (first, second))
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_an_epoch_is_recommended_and_the_run_stays_as_it_is(train, copy, tmp_path):  # noqa: F811
    first, other = tmp_path / "first", tmp_path / "other"
    trainer = train(first, epochs=2, save_last=True)
    rows = read_epochs(first / TABLE)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"label_free/cycle", "label_free/distance"} <= trainer.state.metrics.keys()
    assert f"Epoch {recommended(rows)['epoch']} is recommended" in trainer.recommendation
    assert trainer.recommendation in (first / "docs" / "README.md").read_text()
    assert not (first / "logs" / "epochs").exists()
    handlers = [
        one
        for one in read_config(copy, "train.json")["train"]["handlers"]
        if not one["_target_"].endswith("EpochRecommendation")
    ]
    train(other, epochs=2, save_last=True, **{"train#handlers": handlers})
    assert not (other / TABLE).exists()
    assert same(first / WEIGHTS, other / WEIGHTS)


def test_its_weights_are_kept_without_validation_and_a_resumed_run_goes_on(train, tmp_path):
    run, chosen = tmp_path / "run", {"criterion": "label_free", "validation": []}
    train(run, epochs=1, **chosen)
    first = read_epochs(run / TABLE)
    train(run, epochs=3, resume=True, **chosen)
    rows = read_epochs(run / TABLE)
    assert rows[:1] == first
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert same(run / WEIGHTS, run / "logs" / "epochs" / f"{recommended(rows)['epoch']:04d}.pt")
