"""Where in a thigh a change by a translation is plausible: the compartment of the muscles, found without labels."""

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
    """Region inside the fascia lata, bone and vessels with it: in each leg and slice the convex hull of found muscle.

    What any segmenter finds in the original scan, remains of muscle and the sheaths around what is replaced, reaches
    around the compartment; subcutaneous fat stays outside.

    Args:
        mask: muscle found in the scan (X, Y, Z) in RAS, such as by a Gaussian mixture; slices along Z.
        body: silhouette (X, Y, Z).
        spacing: voxel size in mm.
        skin: what lies less deep, in mm, is skin and not muscle.
        smallest: parts of a slice below this area, in mm2, are left out.

    Returns:
        bool (X, Y, Z).

    Raises:
        ValueError: the body is empty.
    """
    steps = np.broadcast_to(np.asarray(spacing, dtype=float), (3,))
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
    """Convex hull of a mask (X, Y); the mask itself where that is a line or less."""
    places = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    try:
        inside = Delaunay(places).find_simplex(np.argwhere(np.ones_like(mask))) >= 0
    except (QhullError, ValueError):
        return mask
    return inside.reshape(mask.shape)
