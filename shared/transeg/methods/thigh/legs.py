"""Muscle volume and fat fraction of each leg.

The fat fraction is the biomarker that requires a segmentation of all muscle, infiltrated or not (Gadermayr et al. 2021,
section 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

WIDE = 1.35  # width over depth from which a body is taken for two touching legs
BINS = 256


class TissuePeaks(NamedTuple):
    """Modal intensities of lean muscle and fat."""

    muscle: float
    fat: float


class LegMuscle(NamedTuple):
    """Measurements of one leg.

    Attributes:
        leg: "left", "right", or "leg" if there is only one.
        muscle_ml: volume of the mask.
        fat_fraction: fat fraction of the mask, 0 to 1; NaN if it is empty or contains no lean muscle as reference.
        muscle_peak: intensity of lean muscle.
        fat_peak: intensity of fat.
    """

    leg: str
    muscle_ml: float
    fat_fraction: float
    muscle_peak: float
    fat_peak: float


def split_legs(body: np.ndarray, spacing: Sequence[float] | float = 1.0) -> dict[str, np.ndarray]:
    """Split the field of view into legs.

    Args:
        body: bool (X, Y, Z) in RAS (X grows to the patient's right, Z along the legs), see `silhouette`.
        spacing: voxel size in mm.

    Returns:
        {"left": mask, "right": mask}, or {"leg": mask} if there is only one (of unknown side). Two legs, apart or
        touching, are separated by the sagittal plane between them where the body is thinnest.

    Raises:
        ValueError: the body is empty.
    """
    body = np.asarray(body) != 0
    if not body.any():
        raise ValueError("no body in the volume")
    steps = np.broadcast_to(np.asarray(spacing, dtype=float), (3,))
    coverage = body.mean(axis=2)
    parts, count = ndimage.label(coverage >= 0.5 * coverage.max())
    boxes, sizes = ndimage.find_objects(parts), np.bincount(parts.ravel())[1:]
    large = [boxes[k] for k in range(count) if sizes[k] > 0.25 * sizes.max()]
    start, stop = min(box[0].start for box in large), max(box[0].stop for box in large)
    depth = max(box[1].stop - box[1].start for box in large)
    if (stop - start) * steps[0] < WIDE * depth * steps[1]:
        return {"leg": np.ones_like(body)}
    third = (stop - start) // 3
    columns = body[start + third : stop - third].sum(axis=(1, 2))
    narrow = np.flatnonzero(columns == columns.min())
    right = np.zeros_like(body)
    right[start + third + narrow[len(narrow) // 2] :] = True
    return {"left": ~right, "right": right}


def tissue_peaks(image: np.ndarray, mask: np.ndarray, body: np.ndarray) -> TissuePeaks:
    """Find the histogram peaks of lean muscle and fat in a T1w scan, where fat is bright and muscle dark.

    Args:
        image: (X, Y, Z), any unit, air near 0.
        mask: all muscle (X, Y, Z).
        body: silhouette (X, Y, Z).

    Returns:
        Fat: peak of the brighter half of the body outside the mask. Muscle: peak of the mask below half of the fat
        intensity. NaN if there are no such voxels.
    """
    mask, body = np.asarray(mask) != 0, np.asarray(body) != 0
    outside = image[body & ~mask]
    if not outside.size:
        return TissuePeaks(float("nan"), float("nan"))
    fat = _peak(outside[outside > 0.5 * np.percentile(outside, 99)])
    return TissuePeaks(_peak(image[mask & (image < fat / 2)]), fat)


def _peak(values: np.ndarray) -> float:
    if not values.size:
        return float("nan")
    counts, edges = np.histogram(values, BINS)
    k = int(ndimage.gaussian_filter1d(counts.astype(float), BINS / 32, mode="constant").argmax())
    return float((edges[k] + edges[k + 1]) / 2)


def measure_legs(
    image: np.ndarray,
    mask: np.ndarray,
    body: np.ndarray,
    spacing: Sequence[float] | float = 1.0,
) -> list[LegMuscle]:
    """Measure muscle volume and fat fraction per leg.

    The fat fraction is the mean of z = (intensity - muscle peak) / (fat peak - muscle peak) over the mask, as if
    the signal mixed linearly. The peaks are estimated per leg, since coil sensitivity may differ between legs. Not
    modelled are shading within a leg, the T1 of fibrosis and oedema, and diffuse fat throughout the muscle (it shifts
    the muscle peak); a two-point Dixon scan measures what this estimates. z is not clipped per voxel, so that noise
    does not cause a bias.

    Args:
        image: (X, Y, Z) T1w in RAS, any unit, air near 0.
        mask: all muscle (X, Y, Z).
        body: silhouette (X, Y, Z).
        spacing: voxel size in mm.

    Raises:
        ValueError: the body is empty.
    """
    ml = float(np.broadcast_to(np.asarray(spacing, dtype=float), (3,)).prod()) / 1000
    mask, body = np.asarray(mask) != 0, np.asarray(body) != 0
    rows = []
    for leg, region in split_legs(body, spacing).items():
        part = mask & region
        peaks = tissue_peaks(image, part, body & region)
        z = (image[part].astype(float) - peaks.muscle) / (peaks.fat - peaks.muscle)
        fraction = float(np.clip(z.mean(), 0, 1)) if z.size else float("nan")
        rows.append(LegMuscle(leg, ml * int(part.sum()), fraction, *peaks))
    return rows


def share_under_skin(mask: np.ndarray, body: np.ndarray, spacing: Sequence[float] | float, depth: float = 8.0) -> float:
    """Fraction of a mask less than `depth` mm below the outline of the body in its slice, where fat is expected.

    Args:
        mask: (X, Y, Z).
        body: silhouette (X, Y, Z).
        spacing: voxel size in mm.
        depth: distance to the outline in mm.

    Returns:
        0 to 1; NaN for an empty mask.
    """
    steps = np.broadcast_to(np.asarray(spacing, dtype=float), (3,))
    mask = np.asarray(mask) != 0
    if not mask.any():
        return float("nan")
    deep = np.zeros_like(mask)
    for z in range(mask.shape[2]):
        padded = np.pad(np.asarray(body)[..., z] != 0, 1)
        deep[..., z] = ndimage.distance_transform_edt(padded, sampling=steps[:2])[1:-1, 1:-1] > depth
    return float((mask & ~deep).sum() / mask.sum())
