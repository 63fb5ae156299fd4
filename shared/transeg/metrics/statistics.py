"""Scores of a sample of patients: mean, median and bootstrap intervals; paired differences of two methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

DRAWS = 10_000
AT_ONCE = 10_000_000  # drawn values
LEVEL = (0.025, 0.975)  # of an interval


def bootstrap_interval(values: Sequence[float] | np.ndarray, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of values (N,), N > 0, drawn with replacement; the same each time.

    Of few values it is too narrow, of a single one it has no width.
    """
    sample, random = np.asarray(values, float), np.random.default_rng(0)
    at_once = max(1, AT_ONCE // len(sample))
    parts = [min(at_once, draws - done) for done in range(0, draws, at_once)]
    means = np.concatenate([random.choice(sample, (part, len(sample))).mean(axis=1) for part in parts])
    low, high = np.quantile(means, LEVEL)
    return float(low), float(high)


def describe(values: Sequence[float] | np.ndarray) -> dict[str, Any]:
    """Mean, its 95 % bootstrap interval, median and number of the values (N,) that are not NaN; empty without any.

    A single value has no interval.
    """
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    if not len(kept):
        return {}
    interval = {"interval": [*bootstrap_interval(kept)]} if len(kept) > 1 else {}
    return {"mean": float(kept.mean()), **interval, "median": float(np.median(kept)), "n": len(kept)}


def paired_difference(values: Sequence[float], others: Sequence[float], draws: int = DRAWS) -> dict[str, Any]:
    """Mean difference over the same patients, with its 95 % bootstrap interval, rounded to three digits."""
    difference = np.subtract(values, others)
    interval = np.round(bootstrap_interval(difference, draws), 3).tolist()
    return {"mean": round(float(difference.mean()), 3), "interval": interval, "n": len(difference)}
