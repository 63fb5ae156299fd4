"""The muscle compartment of a thigh, where changes by a translation are plausible; estimated without labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.spatial import Delaunay, QhullError

from transeg.methods.thigh.legs import split_legs


def muscle_compartment(
    mask: np.ndarray,
    body: np.ndarray,
    spacing: Sequence[float] | float = 1.0,
    skin: float = 5.0,
    smallest: float = 15.0,
) -> np.ndarray:
    """Region inside the fascia lata, including bone and vessels: convex hull of the muscle mask per leg and slice.

    Whatever a segmenter finds in the original scan (remaining muscle and the sheaths of replaced muscle) surrounds the
    compartment; subcutaneous fat stays outside.

    Args:
        mask: muscle segmented in the scan (X, Y, Z) in RAS, e.g. by a Gaussian mixture; slices along Z.
        body: silhouette (X, Y, Z).
        spacing: voxel size in mm.
        skin: depth in mm below the outline of the body up to which voxels are taken for skin.
        smallest: minimum area in mm^2 of a connected part of a slice.

    Returns:
        bool (X, Y, Z).

    Raises:
        ValueError: the body is empty.
    """
    steps = np.broadcast_to(np.asarray(spacing, dtype=float), (3,)).tolist()
    mask, body = np.asarray(mask) != 0, np.asarray(body) != 0
    region = np.zeros_like(mask)
    legs = split_legs(body, steps).values()
    for z in range(mask.shape[2]):
        depth = ndimage.distance_transform_edt(np.pad(body[..., z], 1), sampling=steps[:2])[1:-1, 1:-1]
        parts, _ = ndimage.label(mask[..., z] & (depth > skin))
        large = np.bincount(parts.ravel()) * steps[0] * steps[1] >= smallest
        large[0] = False
        for leg in legs:
            region[..., z] |= _hull(large[parts] & leg[..., z])
    return region & body


def _hull(mask: np.ndarray) -> np.ndarray:
    """Convex hull of a mask (X, Y); the mask itself if it has no area.

    Not skimage's convex_hull_image, which would be the only use of a large dependency.
    """
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    try:
        inside = Delaunay(places).find_simplex(np.argwhere(np.ones_like(mask))) >= 0
    except (QhullError, ValueError):
        return mask
    return inside.reshape(mask.shape)
