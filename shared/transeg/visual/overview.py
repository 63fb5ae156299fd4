"""An overview of a scan and its mask: a few slices, without and with the structures found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, SIDES, grey, label_overlay, upright, window

SLICES = 5


def overview(image: np.ndarray, mask: np.ndarray, spacing: Sequence[float], caption: str = "") -> RGB:
    """Draw up to five slices through the mask, or through the scan if the mask is empty.

    Args:
        image: one channel (X, Y, Z) in RAS, any units.
        mask: label map (X, Y, Z), 0 for background.
        spacing: voxel size in mm; slices lie along the axis of the largest.
        caption: below the picture.

    Returns:
        uint8 (height, width, 3).
    """
    axis = int(np.argmax(spacing)) if max(spacing) > 1.5 * sorted(spacing)[1] else 2
    image, mask = (np.moveaxis(volume, axis, -1) for volume in (image, mask))
    shown = np.flatnonzero(mask.any(axis=(0, 1)))
    first, last = (shown[0], shown[-1]) if len(shown) else (0, image.shape[-1] - 1)
    chosen = np.unique(np.linspace(first, last, SLICES).round().astype(int))
    low, high = window(image)
    grounds = [grey(upright(image[..., z]), low, high) for z in chosen]
    overlaid = [label_overlay(ground, upright(mask[..., z])) for ground, z in zip(grounds, chosen, strict=True)]
    rows = [[Tile(pixels, sides=SIDES[axis]) for pixels in row] for row in (grounds, overlaid)]
    return panel(rows, [f"slice {z}" for z in chosen], ["", caption])
