"""Scores of single masks, and how sure a mean of them is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def dice(prediction: ArrayLike, label: ArrayLike) -> float:
    """Hard Dice of two masks (non-zero = inside) of the same shape; NaN when both are empty.

    Raises:
        ValueError: shapes differ.
    """
    s, y = np.asarray(prediction) != 0, np.asarray(label) != 0
    if s.shape != y.shape:
        raise ValueError(f"prediction {s.shape} and label {y.shape} differ in shape")
    size = int(s.sum()) + int(y.sum())
    return 2 * int((s & y).sum()) / size if size else float("nan")


def false_alarm_rate(predictions: ArrayLike, labels: ArrayLike | None = None) -> float:
    """Fraction of the slices without a lesion on which anything is predicted.

    Args:
        predictions: masks (N, ...) of N slices.
        labels: (N, ...); slices with a lesion are left out. None: no slice has a lesion.

    Returns:
        Rate in [0, 1]; NaN when every slice has a lesion.
    """
    alarm = _any_voxel(predictions)
    if labels is not None:
        alarm = alarm[~_any_voxel(labels)]
    return float(alarm.mean()) if len(alarm) else float("nan")


def _any_voxel(masks: ArrayLike) -> np.ndarray:
    masks = np.asarray(masks)
    return (masks != 0).reshape(len(masks), -1).any(axis=1)


def bootstrap_interval(
    scores: Sequence[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean score over patients.

    Args:
        scores: one for each patient; NaN (no lesion, nothing predicted) are left out.
        confidence: probability that the interval is to hold.
        resamples: draws of as many patients, with replacement.
        seed: makes the interval reproducible.

    Returns:
        Lower and upper bound; NaN without any score.
    """
    values = np.asarray(scores, dtype=np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    draws = np.random.default_rng(seed).integers(values.size, size=(resamples, values.size))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
