"""Every bundle recommends an epoch without labels, and keeps its weights on demand."""

import logging

import pytest
import torch
from transeg.bundle.epochs import read_epochs, recommended

from .conftest import read_config
from .test_run_folders import trained
from .test_workflows import copy, slices  # noqa: F401 (fixtures)

LONG = {"epochs": 3, "segmenter_epochs": 0, "translation_epochs": 0}


def weights(path):
    return torch.load(path, weights_only=True)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def settings(root):
    known = read_config(root, "train.json")
    return {key: value for key, value in LONG.items() if key in known}


def test_it_is_told_and_the_run_stays_as_it_is(copy, slices, tmp_path, caplog):  # noqa: F811
    first, other = tmp_path / "first", tmp_path / "other"
    with caplog.at_level(logging.INFO):
        trainer = trained(copy, slices, first, save_last=True, **settings(copy))
    rows = read_epochs(first / "logs" / "epochs.csv")
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert {"label_free/cycle", "label_free/distance"} <= trainer.state.metrics.keys()
    assert f"Epoch {recommended(rows)['epoch']} is recommended" in trainer.recommendation
    assert trainer.recommendation in caplog.text
    assert trainer.recommendation in (first / "docs" / "README.md").read_text()
    assert not (first / "logs" / "epochs").exists()
    trained(copy, slices, other, save_last=True, **settings(copy), translations={})
    assert not (other / "logs" / "epochs.csv").exists()
    assert same(*(weights(run / "models" / "model.pt") for run in (first, other)))


def test_its_weights_are_kept_and_a_resumed_run_goes_on(copy, slices, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    chosen = {"criterion": "label_free", **settings(copy)}
    trained(copy, slices, run, **chosen | {"epochs": 2})
    first = read_epochs(run / "logs" / "epochs.csv")
    trainer = trained(copy, slices, run, resume=True, **chosen)
    rows = read_epochs(run / "logs" / "epochs.csv")
    assert rows[:2] == first
    assert rows[2]["epoch"] == 3
    best = recommended(rows)["epoch"]
    assert same(weights(run / "models" / "model.pt"), weights(run / "logs" / "epochs" / f"{best:04d}.pt"))
    assert same(weights(run / "models" / "model.pt"), trainer_weights(trainer)) == (best == 3)


def trainer_weights(trainer):
    handler = next(one for one in trainer.train_handlers if type(one).__name__ == "RunFolder")
    return {key: value.cpu() for key, value in plain(handler.network).items()}


def plain(network):
    from transeg.networks.spectral import plain_state_dict

    return plain_state_dict(network)


def test_a_run_without_any_label_of_validation_has_one(copy, slices, tmp_path):  # noqa: F811
    if "read_datalist" not in read_config(copy, "train.json")["validation"]:
        pytest.skip("only of bundles whose validation is a list of the datalist")
    trained(copy, slices, tmp_path / "run", validation=[], **settings(copy))
    assert len(read_epochs(tmp_path / "run" / "logs" / "epochs.csv")) == 3
