"""Images of hearts in two modalities: panel of a training iteration, and orthogonal slices of a volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, SIDES, grey, label_overlay, upright, window

# Myo, LA, LV, RA, RV: myocardium green, left heart warm, right heart cold colours; others in the same order
PLANES = ("axial", "coronal", "sagittal")


class CardiacPanel:
    """Draw the middle axial slice of the first volumes of a training iteration, one per row.

    Columns: x_A, its translation x_AB, its reconstruction x_ABA, x_A with its label, if any; then the same for x_B.
    Translations that a phase does not compute are left blank.

    Args:
        rows: maximum number of rows.
    """

    TITLES = ("x_A", "x_AB", "x_ABA", "y_A", "x_B", "x_BA", "x_BAB", "y_B")

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows

    def __call__(self, output: Mapping[str, Any]) -> RGB:
        """Trainer output with a `CardiacTranslation` of volumes of one size -> uint8 (H, W, 3)."""
        t = output["translation"]
        rows = []
        for i in range(min(len(t.x_a), len(t.x_b), self.rows)):
            row: list[Tile | None] = []
            for x, *translations, label in ((t.x_a, t.x_ab, t.x_aba, t.y_a), (t.x_b, t.x_ba, t.x_bab, t.y_b)):
                image = _tile(x[i])
                row += [image, *(None if volume is None else _tile(volume[i]) for volume in translations)]
                row.append(Tile(label_overlay(image.pixels, _middle(label[i]))))
            rows.append(row)
        return panel(rows, self.TITLES)


def _tile(volume: torch.Tensor) -> Tile:
    return Tile(grey(_middle(volume), -1.0, 1.0))


def orthogonal_slices(
    volume: np.ndarray, label: np.ndarray | None = None, limits: tuple[float, float] | None = None
) -> list[Tile]:
    """Central slices of a volume in the order of `PLANES`, as one row of a `panel`.

    Args:
        volume: (X, Y, Z) in RAS, isotropic voxels, any intensity unit.
        label: regions (X, Y, Z) to overlay.
        limits: intensities shown black and white; default: see `window`.

    Returns:
        Square tiles of the same size, padded with black.
    """
    low, high = window(volume) if limits is None else limits
    side = max(volume.shape)
    tiles = []
    for axis in (2, 1, 0):
        plane = grey(upright(_central(volume, axis)), low, high)
        if label is not None:
            plane = label_overlay(plane, upright(_central(label, axis)))
        spare = [side - n for n in plane.shape[:2]]
        tiles.append(Tile(np.pad(plane, [*((n // 2, n - n // 2) for n in spare), (0, 0)]), sides=SIDES[axis]))
    return tiles


def _central(volume: np.ndarray, axis: int) -> np.ndarray:
    return np.take(volume, volume.shape[axis] // 2, axis)


def _middle(volume: torch.Tensor) -> np.ndarray:
    """Middle slice of the first channel of (C, X, Y) or (C, X, Y, Z)."""
    plane = volume.detach()[0].float().cpu().numpy()
    return upright(_central(plane, 2) if plane.ndim == 3 else plane)
