"""Segmentation of the body from the air around it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

LEVEL = 0.12  # of the intensity range: above the noise of air, below muscle
EVERYTHING = 0.99  # of the voxels: no body apart from air is found
SMALLEST = 0.05  # of the largest component: smaller ones are artefacts or pads


def foreground_level(volume: np.ndarray, fraction: float = LEVEL) -> float:
    """Intensity that separates the body from dark air: `fraction` of the way from the 0.5 to the 99.5 percentile."""
    low, high = np.percentile(volume, [0.5, 99.5])
    return float(low + fraction * (high - low))


def silhouette(volume: np.ndarray, level: float | None = None) -> np.ndarray:
    """Segment the body: voxels brighter than air in slightly smoothed slices, without holes and small components.

    (monai's `ForegroundMask` is for RGB images.)

    Args:
        volume: (X, Y, Z), slices along Z; air dark.
        level: threshold; default `foreground_level`.

    Returns:
        bool (X, Y, Z).
    """
    volume = np.asarray(volume, dtype=np.float32)
    level = foreground_level(volume) if level is None else level
    body = ndimage.gaussian_filter(volume, (0.7, 0.7, 0)) > level
    parts, count = ndimage.label(body)
    if count > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        body = (sizes >= SMALLEST * sizes.max())[parts]
    return ndimage.binary_fill_holes(body, structure=np.ones((3, 3, 1), bool))


def body(channels: np.ndarray) -> np.ndarray:
    """Segment the body by the first channel in which it is brighter than air: (C, X, Y, Z) -> bool (X, Y, Z).

    In a channel whose air is grey, such as one that was stored as a difference from its mean, `silhouette` finds
    everything; where that is so in all, as in a scan without air, the first counts.
    """
    found = [silhouette(channels[0])]
    while found[-1].mean() > EVERYTHING and len(found) < len(channels):
        found.append(silhouette(channels[len(found)]))
    return found[-1] if found[-1].mean() <= EVERYTHING else found[0]
