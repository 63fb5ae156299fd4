"""Overlays and panels of the changes made by a translation."""

from __future__ import annotations

import numpy as np

from transeg.metrics.silhouette import silhouette
from transeg.metrics.trust import relative_change
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, SIDES, diverging, grey, upright, window

REPAIRED, TAKEN, UNCHANGED = (60, 200, 80), (230, 50, 50), (225, 205, 60)  # green, red, yellow
TRUST_TITLES = ("source", "translation", "change", "repaired, removed, unchanged")
STRENGTH = 0.5


def change_overlay(ground: RGB, repaired: np.ndarray, removed: np.ndarray, unchanged: np.ndarray) -> RGB:
    """Colour an image as in Fig. 3 of Gadermayr et al. 2021: repaired green, removed red, unchanged yellow.

    Args:
        ground: uint8 (H, W, 3).
        repaired, removed, unchanged: disjoint masks, bool (H, W).
    """
    image = ground.astype(float)
    for mask, colour in ((unchanged, UNCHANGED), (removed, TAKEN), (repaired, REPAIRED)):
        image[mask] = (1 - STRENGTH) * image[mask] + STRENGTH * np.array(colour)
    return image.round().astype(np.uint8)


def change_parts(
    source: np.ndarray,
    translation: np.ndarray,
    source_mask: np.ndarray | None = None,
    translation_mask: np.ndarray | None = None,
    sign: int | None = None,
    tolerance: float = 0.1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of repaired, removed and unchanged voxels, each bool (X, Y, Z).

    With masks: only in the translation's, only in the source's, in both. Without: changed with the allowed sign
    (darker if None), changed against it, and the rest of the body.
    """
    if source_mask is not None and translation_mask is not None:
        old, new = np.asarray(source_mask) != 0, np.asarray(translation_mask) != 0
        return new & ~old, old & ~new, old & new
    along = relative_change(source, translation) * (sign or -1)
    repaired, removed = along > tolerance, along < -tolerance
    return repaired, removed, silhouette(source) & ~repaired & ~removed


def trust_panel(
    source: np.ndarray,
    translation: np.ndarray,
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    caption: str = "",
    rows: int = 3,
) -> RGB:
    """Draw the slices that changed most, one per row in axial order.

    Args:
        source: (X, Y, Z) in RAS.
        translation: the same shape and units.
        parts: see `change_parts`.
        caption: below the last row.
        rows: number of slices.

    Returns:
        uint8 (H, W, 3).
    """
    change = translation - source
    order = np.abs(change).sum(axis=(0, 1)).argsort(kind="stable")[::-1][:rows]
    low, high = window(source)
    drawn = []
    for z in sorted(order.tolist()):
        ground = grey(upright(source[..., z]), low, high)
        drawn.append(
            [
                Tile(ground, sides=SIDES[2]),
                Tile(grey(upright(translation[..., z]), low, high)),
                Tile(diverging(upright(-change[..., z]), (high - low) / 2)),
                Tile(change_overlay(ground, *(upright(part[..., z]) for part in parts))),
            ]
        )
    return panel(drawn, TRUST_TITLES, [""] * (len(drawn) - 1) + [caption])
