"""Overlap of masks, and false alarms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def dice(prediction: ArrayLike, label: ArrayLike) -> float:
    """Hard Dice of two masks (non-zero = inside) of the same shape; NaN if both are empty.

    (monai's `compute_dice` is NaN for a false positive or, without `ignore_empty`, 1 for two empty masks.)

    Raises:
        ValueError: shapes differ.
    """
    s, y = np.asarray(prediction) != 0, np.asarray(label) != 0
    if s.shape != y.shape:
        raise ValueError(f"prediction {s.shape} and label {y.shape} differ in shape")
    size = int(s.sum()) + int(y.sum())
    return 2 * int((s & y).sum()) / size if size else float("nan")


def false_alarm_rate(predictions: ArrayLike, labels: ArrayLike | None = None) -> float:
    """Fraction of lesion-free slices with a false positive.

    Args:
        predictions: masks (N, ...) of N slices.
        labels: masks (N, ...); slices with a lesion are left out. None: no slice has a lesion.

    Returns:
        Rate in [0, 1]; NaN if every slice has a lesion.
    """
    alarm = _any_voxel(predictions)
    if labels is not None:
        alarm = alarm[~_any_voxel(labels)]
    return float(alarm.mean()) if len(alarm) else float("nan")


def _any_voxel(masks: ArrayLike) -> np.ndarray:
    masks = np.asarray(masks)
    return (masks != 0).reshape(len(masks), -1).any(axis=1)
