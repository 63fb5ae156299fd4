"""Temperature and calibration error, on probabilities whose answer is known."""

import numpy as np
import pytest
import torch
from transeg.errors import UserError
from transeg.metrics.calibration import (
    RANGE,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
    tempered,
)


def drawn(classes: int, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (C, N) that are too confident by a temperature, and classes drawn by the right ones."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(max(classes, 2), 200_000, generator=generator)
    label = torch.multinomial(logits.softmax(0).T, 1, generator=generator)[:, 0]
    confident = (temperature * logits).softmax(0)
    return (confident if classes > 1 else confident[1:]), label


def test_temperature_by_hand():
    odds = torch.tensor([[0.5, 0.8, 0.2]])  # logit of 0.8: log 4; halved, log 2
    torch.testing.assert_close(tempered(odds, 2.0), torch.tensor([[0.5, 2 / 3, 1 / 3]]))
    torch.testing.assert_close(tempered(torch.cat([1 - odds, odds]), 2.0)[1:], tempered(odds, 2.0))
    assert tempered(odds, 1.0) is odds
    assert tempered(torch.tensor([[0.0, 1.0]]), 3.0).isfinite().all()


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found_and_calibrates(classes, temperature):
    probability, label = drawn(classes, temperature)
    found = fit_temperature(probability, label)
    assert found == pytest.approx(temperature, rel=0.03)
    better = tempered(probability, found)
    assert negative_log_likelihood(better, label) <= negative_log_likelihood(probability, label)
    assert calibration_error(better, label) < 0.004
    if temperature != 1:
        assert calibration_error(probability, label) > 0.04


def test_voxels_of_one_class_fit_any_temperature():
    with pytest.raises(UserError, match="all of one class"):
        fit_temperature(torch.full((1, 5), 0.1), torch.zeros(5, dtype=torch.long))
    sure = torch.tensor([[0.01, 0.02, 0.98, 0.99]])  # and right: as confident as can be
    assert RANGE[0] <= fit_temperature(sure, torch.tensor([0, 0, 1, 1])) < 0.1


def test_calibration_error_and_likelihood_by_hand():
    probability, label = torch.tensor([[0.11, 0.13, 0.61, 0.64]]), torch.tensor([0, 1, 1, 1])
    # bins 0.10 to 0.15 and 0.60 to 0.65: mean probability 0.12 and 0.625, frequency 0.5 and 1
    assert calibration_error(probability, label) == pytest.approx((0.38 + 0.375) / 2)
    assert negative_log_likelihood(probability, label) == pytest.approx(-np.log([0.89, 0.13, 0.61, 0.64]).mean())
    both = torch.cat([1 - probability, probability / 2, probability / 2])
    # 0.055, 0.065, 0.305, 0.32 for either of two structures: the second is never there
    first, second = (0.06 - 0.5) / 2 + 0, 0.06 / 2
    expected = np.mean([abs(first) + abs(0.3125 - 1) / 2, second + 0.3125 / 2])
    assert calibration_error(both, label) == pytest.approx(expected)
