"""Scores of single masks, and how sure a mean of them is."""

from __future__ import annotations

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
