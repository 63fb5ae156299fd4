"""Whether probabilities are right as often as they say, and the temperature that makes them so.

A temperature T divides logits before the sigmoid or softmax; it changes no order of classes (Guo et al. 2017, "On
calibration of modern neural networks"). Probabilities are as in `transeg.metrics.uncertainty`.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from transeg.errors import UserError

RANGE = (0.05, 20.0)  # of temperatures
LEAST = 1e-6  # probability: float32 ends at about 1 - 1e-7
BINS = 20


def tempered(probability: Tensor, temperature: float) -> Tensor:
    """Probabilities (C, *S) at a temperature; the same ones at 1."""
    if temperature == 1:
        return probability
    if len(probability) == 1:
        return torch.sigmoid(torch.logit(probability, eps=LEAST) / temperature)
    return torch.softmax(probability.clamp(min=LEAST).log() / temperature, dim=0)


def fit_temperature(probability: Tensor, label: Tensor) -> float:
    """The temperature with the smallest negative log-likelihood, within `RANGE`.

    Args:
        probability: (C, N) of N voxels.
        label: class of each, int (N,).

    Raises:
        UserError: labels of one class only, which any confident probability fits.
    """
    if len(label.unique()) < 2:
        raise UserError("the voxels are all of one class, by which no temperature can be chosen")
    low, high = np.log(RANGE)
    found = minimize_scalar(
        lambda value: negative_log_likelihood(tempered(probability.double(), float(np.exp(value))), label),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def negative_log_likelihood(probability: Tensor, label: Tensor) -> float:
    """Mean over N voxels of -log of the probability of the class (N,) that each has; (C, N), at least `LEAST`."""
    classes = probability if len(probability) > 1 else torch.cat([1 - probability, probability])
    return float(-classes.gather(0, label.long()[None]).clamp(min=LEAST).log().mean())


def calibration_error(probability: Tensor, label: Tensor) -> float:
    """Expected calibration error: the mean distance of probability and frequency, over bins of the probability.

    The mean over structures, if there are several; the background is left out. With MONAI's `CalibrationErrorMetric`,
    over all voxels at once.

    Args:
        probability: (C, N) of N voxels.
        label: class of each, int (N,).
    """
    from monai.metrics import CalibrationErrorMetric  # MONAI 1.6

    first = int(len(probability) > 1)
    shown = probability[first:].float()
    truth = torch.stack([label == 1 + k for k in range(len(shown))]).float()
    metric = CalibrationErrorMetric(num_bins=BINS)
    metric(y_pred=shown[None], y=truth[None])
    return float(torch.as_tensor(metric.aggregate()))
