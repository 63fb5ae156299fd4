"""Distances between surfaces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance
from numpy.typing import ArrayLike


def hausdorff95(prediction: ArrayLike, label: ArrayLike, spacing: Sequence[float] | float = 1.0) -> float:
    """95 % Hausdorff distance of two masks: the larger of the two directed 95th percentiles.

    Args:
        prediction: mask of 2 or 3 dimensions, non-zero = inside.
        label: mask of the same shape.
        spacing: size of a voxel along each axis, in mm; 1 gives voxels.

    Returns:
        Distance in the unit of the spacing; 0 when both are empty, the diagonal of the image when one is (a plain
        mean over cases would otherwise reward missing a lesion altogether).

    Raises:
        ValueError: shapes differ.
    """
    s, y = np.asarray(prediction) != 0, np.asarray(label) != 0
    if s.shape != y.shape:
        raise ValueError(f"prediction {s.shape} and label {y.shape} differ in shape")
    steps = np.broadcast_to(np.asarray(spacing, dtype=float), (s.ndim,))
    if not s.any() or not y.any():
        return float(np.linalg.norm(np.array(s.shape) * steps)) if s.any() or y.any() else 0.0
    pair = (torch.from_numpy(x)[None, None].float() for x in (s, y))
    return float(compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=steps.tolist()))
