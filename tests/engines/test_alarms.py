import logging
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine
from transeg.engines.alarms import CollapseAlarm, RangeAlarm
from transeg.objectives.translations import Way


@dataclass
class Translation:
    code: tuple
    label: torch.Tensor


def run(means, logits, **limits):
    """An epoch of one iteration for each pair of means (B, K) and logits."""

    def iterate(engine, pair):
        return {"translation": Translation((pair[0], torch.zeros_like(pair[0])), pair[1])}

    engine = Engine(iterate)
    CollapseAlarm(["code"], ["label"], **limits).attach(engine)
    engine.run(list(zip(means, logits, strict=True)), max_epochs=1)
    return engine.state.metrics


def test_units_and_areas_over_an_epoch(caplog):
    # the first unit varies between the two batches only, the second stays, the third varies too little
    means = [torch.tensor([[0.5, 1.0, 0.1], [0.5, 1.0, 0.0]]), torch.tensor([[-0.5, 1.0, 0.1], [-0.5, 1.0, 0.0]])]
    logits = [torch.logit(torch.full((2, 1, 2, 2), p)) for p in (0.1, 0.3)]
    with caplog.at_level(logging.WARNING):
        metrics = run(means, logits)
    assert metrics["active_units/code"] == 1
    assert metrics["area/label"] == pytest.approx(0.2)
    assert not caplog.records


def test_warns_of_a_dead_code_and_of_an_empty_or_full_map(caplog):
    with caplog.at_level(logging.WARNING):
        run([torch.ones(2, 3)], [torch.full((2, 1, 2, 2), -20.0)])
    assert "0 of 3 units" in caplog.text
    assert "nearly empty" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        run([torch.randn(9, 3)], [torch.full((9, 1, 2, 2), 20.0)])
    assert "nearly full" in caplog.text
    assert "units" not in caplog.text


def test_batches_without_a_map_are_left_out(caplog):
    with caplog.at_level(logging.WARNING):
        metrics = run([torch.randn(9, 3)] * 2, [None, torch.full((9, 1, 2, 2), 20.0)])
        assert metrics["area/label"] == pytest.approx(1.0)
        assert "nearly full" in caplog.text
        assert "area/label" not in run([torch.randn(9, 3)], [None])


@dataclass
class Images:
    made: torch.Tensor | None
    real: torch.Tensor


def ranges(*batches):
    engine = Engine(lambda _, batch: {"translation": Images(*batch)})
    ways = {"made": Way("", "real", ""), "absent": Way("", "real", "")}
    engine.objective = SimpleNamespace(translations=ways)
    RangeAlarm().attach(engine)
    engine.run(list(batches), max_epochs=1)


def test_warns_of_translations_that_never_get_as_bright_or_dark(caplog):
    real = torch.linspace(-1, 1, 1001).reshape(1, 1, 1001)
    with caplog.at_level(logging.WARNING):
        ranges((0.2 * real, real), (real, real))  # by one batch at least
        ranges((None, real))
        ranges((0.9 * real, real))
        assert not caplog.records
        ranges((real.clamp(max=0.5), real))
    assert caplog.messages == [
        "Epoch 1: intensities of the translations made lie between -1.00 and 0.50, but 1 % of the voxels of real are "
        "above 0.98. If this lasts, the generator has saturated; start again with another seed."
    ]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ranges((real.clamp(min=-0.5), real))
    assert "below -0.98" in caplog.text
