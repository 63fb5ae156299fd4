"""A row of a panel for a whole volume."""

from __future__ import annotations

import numpy as np

from transeg.visual.panel import Tile
from transeg.visual.tiles import PREDICTION, REFERENCE, diverging, grey, heat, upright, window

VOLUME_TITLES = ("source", "healthy translation", "residual", "probability", "mask", "reference")


def widest_slice(*masks: np.ndarray | None) -> int:
    """Axial slice on which the first mask (X, Y, Z) that is not empty is widest; the middle one if all are."""
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
    """Draw one axial slice of a case, in the order of `VOLUME_TITLES`; what is not given stays empty.

    Args:
        source: one channel (X, Y, Z) in RAS, any intensity unit, background 0.
        translation: healthy translation (X, Y, Z) in the same units.
        probability: (X, Y, Z), 0 to 1.
        mask: predicted mask (X, Y, Z).
        reference: true mask (X, Y, Z).
        z: slice; default where the reference, or else the mask, is widest.
    """
    z = widest_slice(reference, mask, source) if z is None else z
    image, healthy, likely, found, true = (
        None if volume is None else upright(np.asarray(volume)[:, :, z])
        for volume in (source, translation, probability, mask, reference)
    )
    inside = image != 0
    low, high = window(image, inside)
    ground = grey(image, low, high, inside)
    tiles: list[Tile | None] = [Tile(ground), None, None, None, None, None]
    if healthy is not None:
        tiles[1] = Tile(grey(healthy, low, high, inside))
        tiles[2] = Tile(diverging((image - healthy) * inside, (high - low) / 2))
    if likely is not None:
        tiles[3] = Tile(heat(likely))
    if found is not None:
        tiles[4] = Tile(ground, [(found != 0, PREDICTION)])
    if true is not None:
        tiles[5] = Tile(ground, [(true != 0, REFERENCE)])
    return tiles
