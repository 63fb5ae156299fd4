"""Threshold and least area of a mask, chosen by which slices show the lesion; no mask is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from transeg.errors import DataError

THRESHOLDS = tuple(np.linspace(0.05, 0.95, 91).round(2).tolist())  # of a probability


class OperatingPoint(NamedTuple):
    """Voxels above `threshold` are inside, in slices with more than `least_area` of them; all else is outside."""

    threshold: float
    least_area: float
    accuracy: float  # mean of sensitivity and specificity over the slices that it was chosen on


def areas_above(volume: np.ndarray, thresholds: Sequence[float] = THRESHOLDS, pixel: float = 1.0) -> np.ndarray:
    """Area above each threshold in each slice: (X, Y, Z) -> (thresholds, Z).

    Args:
        volume: probabilities or intensities.
        thresholds: ascending.
        pixel: area of a pixel.
    """
    ordered = np.sort(volume.reshape(-1, volume.shape[-1]), axis=0)
    below = [np.searchsorted(ordered[:, z], thresholds, side="right") for z in range(ordered.shape[1])]
    return pixel * (len(ordered) - np.stack(below, axis=1))


def best_operating_point(
    areas: np.ndarray, present: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> OperatingPoint:
    """Threshold and least area for which mean of sensitivity and specificity over the slices is largest.

    Of equally good ones, the highest threshold counts, then the largest area.

    Args:
        areas: (thresholds, N), see `areas_above`.
        present: which slices show the lesion, bool (N,).
        thresholds: as of the areas.

    Raises:
        DataError: the slices are all of one kind.
    """
    if present.all() or not present.any():
        raise DataError(
            f"choosing a threshold by slices requires some that show the lesion and some that do not; "
            f"{present.sum()} of {len(present)} do"
        )
    best = (-1.0, 0.0, 0.0)
    for threshold, found in zip(thresholds, areas, strict=True):
        for least in np.unique(np.percentile(found, np.arange(0, 100, 2), method="lower")):
            marked = found > least
            accuracy = (marked[present].mean() + 1 - marked[~present].mean()) / 2
            best = max(best, (float(accuracy), float(threshold), float(least)))
    return OperatingPoint(best[1], best[2], best[0])
