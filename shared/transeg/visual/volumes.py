"""Panel rows of volumes."""

from __future__ import annotations

import numpy as np

from transeg.visual.panel import Tile
from transeg.visual.tiles import PREDICTION, REFERENCE, SIDES, diverging, grey, heat, upright, window

VOLUME_TITLES = ("source", "healthy translation", "residual", "probability", "mask", "reference")


def widest_slice(*masks: np.ndarray | None) -> int:
    """Axial slice where the first non-empty mask (X, Y, Z) has its largest area; the middle slice if all are empty."""
    depth = 1
    for mask in masks:
        if mask is None:
            continue
        depth = mask.shape[2]
        if mask.any():
            return int(np.asarray(mask != 0).sum(axis=(0, 1)).argmax())
    return depth // 2


def volume_row(
    source: np.ndarray,
    translation: np.ndarray | None = None,
    probability: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    reference: np.ndarray | None = None,
    z: int | None = None,
) -> list[Tile | None]:
    """Draw one axial slice of a case in the order of `VOLUME_TITLES`; cells of missing volumes stay empty.

    Args:
        source: one channel (X, Y, Z) in RAS, any units, background 0.
        translation: healthy translation (X, Y, Z) in the same units.
        probability: (X, Y, Z), 0 to 1.
        mask: predicted mask (X, Y, Z).
        reference: reference mask (X, Y, Z).
        z: slice; default the one where the reference, or else the mask, has its largest area.
    """
    z = widest_slice(reference, mask, source) if z is None else z

    def plane(volume: np.ndarray) -> np.ndarray:
        return upright(np.asarray(volume)[:, :, z])

    image = plane(source)
    inside = image != 0
    low, high = window(image, inside)
    ground = grey(image, low, high, inside)
    tiles: list[Tile | None] = [Tile(ground, sides=SIDES[2]), None, None, None, None, None]
    if translation is not None:
        healthy = plane(translation)
        tiles[1] = Tile(grey(healthy, low, high, inside))
        tiles[2] = Tile(diverging((image - healthy) * inside, (high - low) / 2))
    if probability is not None:
        tiles[3] = Tile(heat(plane(probability)))
    if mask is not None:
        tiles[4] = Tile(ground, [(plane(mask) != 0, PREDICTION)])
    if reference is not None:
        tiles[5] = Tile(ground, [(plane(reference) != 0, REFERENCE)])
    return tiles
