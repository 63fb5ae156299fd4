"""Scores of a written mask, the same for all bundles, with one rule for what is empty.

Where the reference shows the structure, every score counts, also of an empty mask: Dice 0, distances the diagonal of
the scan. Where it does not, overlap and distances mean nothing and are NaN; anything marked is a false alarm.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from transeg.metrics.overlap import dice, false_alarm_rate
from transeg.metrics.surface import average_distance, hausdorff95

NAN = float("nan")
RULE = (
    "Where the reference shows the structure, an empty or missing mask counts: Dice 0, distances the diagonal of the "
    "scan. Where it does not, nothing but false alarms is scored."
)


class MaskScore(NamedTuple):
    """Scores of one structure of one scan; NaN where the reference is empty, but for false alarms and volumes.

    Attributes:
        dice: 0 to 1.
        hd95_mm: 95 % Hausdorff distance.
        assd_mm: average symmetric surface distance.
        avd_mm: average Hausdorff distance of all voxels.
        volume_error_ml: volume of the mask minus that of the reference.
        absolute_volume_error_ml: the same without its sign.
        detected: 1 if mask and reference have a voxel in common, else 0.
        detection_rate: share of the slices with the structure in which something is marked.
        false_alarm_rate: share of the slices without it in which something is marked; NaN if there is no such slice.
        false_alarm_ml: volume of the mask where the reference is empty, NaN elsewhere.
        ml: volume of the mask.
        reference_ml: volume of the reference.
    """

    dice: float
    hd95_mm: float
    assd_mm: float
    avd_mm: float
    volume_error_ml: float
    absolute_volume_error_ml: float
    detected: float
    detection_rate: float
    false_alarm_rate: float
    false_alarm_ml: float
    ml: float
    reference_ml: float


def score_mask(
    prediction: ArrayLike | None, reference: ArrayLike, spacing: Sequence[float], slices: int = 2
) -> MaskScore:
    """Score a mask of a whole scan.

    Args:
        prediction: mask (X, Y, Z), non-zero = inside; None: there is none, which counts as an empty one.
        reference: mask of the same shape.
        spacing: size of a voxel along each axis, in mm.
        slices: axis along which the slices lie.

    Raises:
        ValueError: shapes differ or are not three-dimensional.
    """
    y = np.asarray(reference) != 0
    s = np.zeros_like(y) if prediction is None else np.asarray(prediction) != 0
    if s.shape != y.shape or s.ndim != 3:
        raise ValueError(f"prediction {s.shape} and reference {y.shape} must have one shape (X, Y, Z)")
    voxel = float(np.prod(spacing)) / 1000
    ml, reference_ml = voxel * int(s.sum()), voxel * int(y.sum())
    across = tuple({0, 1, 2} - {slices})
    marked, shown = s.any(axis=across), y.any(axis=across)
    alarms = false_alarm_rate(marked[:, None], shown[:, None])
    if not reference_ml:
        return MaskScore(*(NAN,) * 8, alarms, ml, ml, reference_ml)
    error = ml - reference_ml
    return MaskScore(
        dice(s, y),
        hausdorff95(s, y, spacing),
        average_distance(s, y, spacing, surface=True),
        average_distance(s, y, spacing),
        error,
        abs(error),
        float((s & y).any()),
        float(marked[shown].mean()),
        alarms,
        NAN,
        ml,
        reference_ml,
    )
