"""One or two legs in one field of view."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

SECOND = 0.25  # a second leg has at least this share of the voxels of the first


def split_legs(body: np.ndarray) -> np.ndarray:
    """Number the legs of a silhouette (X, Y, Z), slices along Z: 0 outside, 1, and 2 for the one at higher X.

    Legs that touch are parted where the silhouette is narrow: its core, what lies deeper than a growing distance,
    falls into two parts, and every voxel joins the nearer one. Smaller parts join the leg that is near.

    Returns:
        uint8 (X, Y, Z); without a 2 where there is one leg.

    Raises:
        ValueError: an empty silhouette.
    """
    body = np.asarray(body, bool)
    if not body.any():
        raise ValueError("the silhouette is empty, so there is no leg; check the image")
    # within the slices: beyond the last one a leg goes on
    slices = [ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1] for part in np.moveaxis(body, 2, 0)]
    depth = np.stack(slices, axis=2)
    for level in np.linspace(0, 0.8, 9) * depth.max():
        parts, _ = ndimage.label(depth > level, np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())[1:]
        first, *rest = np.argsort(sizes)[::-1] + 1
        if rest and sizes[rest[0] - 1] >= SECOND * sizes[first - 1]:
            break
    else:
        return body.astype(np.uint8)
    cores = sorted((first, rest[0]), key=lambda k: np.nonzero(parts == k)[0].mean())
    core = np.select([parts == k for k in cores], [1, 2]).astype(np.uint8)
    nearest = ndimage.distance_transform_edt(core == 0, return_distances=False, return_indices=True)
    return np.where(body, core[tuple(nearest)], np.uint8(0))
