"""Distances between masks and between their surfaces."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, find_objects


def hausdorff95(prediction: ArrayLike, label: ArrayLike, spacing: Sequence[float] | float = 1.0) -> float:
    """95 % Hausdorff distance of two masks: the larger of the two directed 95th percentiles.

    Args:
        prediction: mask of 2 or 3 dimensions, non-zero = inside.
        label: mask of the same shape.
        spacing: size of a voxel along each axis, in mm; 1 gives voxels.

    Returns:
        Distance in units of the spacing; 0 if both are empty, the diagonal of the image if one is (otherwise a mean
        over cases would reward missed lesions).

    Raises:
        ValueError: shapes differ.
    """
    s, y, steps = _pair(prediction, label, spacing)
    if not s.any() or not y.any():
        return _with_nothing(s, y, steps)
    batch = _batch(s), _batch(y)
    with _quiet():
        found = compute_hausdorff_distance(*batch, include_background=True, percentile=95, spacing=steps.tolist())
    return float(found)


def average_distance(
    prediction: ArrayLike,
    label: ArrayLike,
    spacing: Sequence[float] | float = 1.0,
    surface: bool = False,
) -> float:
    """Average Hausdorff distance (AVD) of two masks: max(d(P, T), d(T, P)).

    d(P, T) is the mean distance of all voxels of P, not only those of its surface, to the nearest voxel of T; overlap
    counts 0 (Taha and Hanbury 2015, "Metrics for evaluating 3D medical image segmentation").

    Args:
        prediction: mask of 2 or 3 dimensions, non-zero = inside.
        label: mask of the same shape.
        spacing: size of a voxel along each axis, in mm; 1 gives voxels.
        surface: average symmetric surface distance (ASSD) instead, the mean over the voxels of both surfaces.

    Returns:
        Distance in units of the spacing; 0 if both are empty, the diagonal of the image if one is.

    Raises:
        ValueError: shapes differ.
    """
    s, y, steps = _pair(prediction, label, spacing)
    if not s.any() or not y.any():
        return _with_nothing(s, y, steps)
    if surface:
        with _quiet():
            distance = compute_average_surface_distance(
                _batch(s), _batch(y), include_background=True, symmetric=True, spacing=steps.tolist()
            )
        return float(distance)
    [box] = find_objects((s | y).astype(np.uint8))  # beyond it, nothing is measured
    s, y = s[box], y[box]
    to_label, to_prediction = (distance_transform_edt(~mask, sampling=steps) for mask in (y, s))
    return float(max(to_label[s].mean(), to_prediction[y].mean()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warning of MONAI 1.5 and 1.6 about an argument that they themselves pass."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*always_return_as_numpy", FutureWarning)
        yield


def _pair(
    prediction: ArrayLike, label: ArrayLike, spacing: Sequence[float] | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    s, y = np.asarray(prediction) != 0, np.asarray(label) != 0
    if s.shape != y.shape:
        raise ValueError(f"prediction {s.shape} and label {y.shape} differ in shape")
    return s, y, np.broadcast_to(np.asarray(spacing, dtype=float), (s.ndim,))


def _with_nothing(s: np.ndarray, y: np.ndarray, steps: np.ndarray) -> float:
    """Distance if at least one mask is empty."""
    return float(np.linalg.norm(np.array(s.shape) * steps)) if s.any() or y.any() else 0.0


def _batch(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None].float()
