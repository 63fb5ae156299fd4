"""The estimate of a training step's memory."""

import pytest
from monai.bundle import ConfigParser
from transeg.bundle.memory import step_memory, training_memory

from .conftest import change, prepare


def memory(bundle, data, **settings):
    settings |= {"bundle_root": str(bundle), "dataset_dir": str(data)}
    return training_memory(str(bundle / "configs/train.json"), settings)


def test_a_step_of_each_bundle_is_estimated(bundle, data):
    sentence, problems = memory(bundle, data, batch_size=2)
    assert problems == []
    assert sentence.startswith("a training step takes about ")


def test_a_step_that_does_not_fit_is_told(bundle, data, monkeypatch):
    monkeypatch.setattr("transeg.bundle.memory.free_memory", lambda device: 2**22)
    [problem] = memory(bundle, data, batch_size=40, device="$torch.device('cuda')")[1]
    assert "4 MiB are free on cuda: lower batch_size or width" in problem


@pytest.fixture
def brains(genseg, tmp_path):
    return prepare(tmp_path / "brains", genseg)


def test_the_memory_of_a_step_grows_with_the_batch(genseg, brains):
    """By hand: weights and gradients are the parameters', AMSGrad keeps three more values and a count of steps."""

    def estimate(size):
        train = ConfigParser()
        train.read_config(genseg / "configs/train.json")
        train.update({"bundle_root": str(genseg), "dataset_dir": str(brains), "batch_size": size})
        return step_memory(train), train.get_parsed_content("players")

    (small, players), (large, _) = estimate(2), estimate(12)
    parameters = [p for player in players for p in player.parameters]
    values = sum(p.numel() for p in parameters)
    assert small.training == 4 * (4 * values + len(parameters))
    assert 4 * values <= small.weights < 4.2 * values
    assert 4 < large.activations / small.activations < 6
    assert large.activations - small.activations > 10 * 2 * 4 * 60 * 120 * 4  # ten times the images of both domains


def test_a_step_that_fails_is_told(genseg, brains):
    change(brains / "datalist.json", lambda c: c["training"][0].update(index=99))
    [problem] = memory(genseg, brains)[1]
    assert problem.startswith("a training step on the first sample fails (")
