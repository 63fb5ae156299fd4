"""Pictures of hearts in two modalities: how a training is going, and cuts through a volume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, grey, upright, window

# Myo, LA, LV, RA, RV: muscle green, the left half of the heart warm, the right half cold
REGION_COLOURS = np.array([[64, 190, 120], [255, 196, 61], [235, 80, 60], [90, 200, 235], [70, 105, 240]])
CUT_TITLES = ("axial", "coronal", "sagittal")
STRENGTH = 0.55


def region_overlay(ground: RGB, label: np.ndarray) -> RGB:
    """Colour an image (H, W, 3) by the regions of a label map (H, W), 0 for background, then 1 to 5."""
    image, inside = ground.astype(float), np.asarray(label) > 0
    colours = REGION_COLOURS[np.asarray(label)[inside].astype(int) - 1]
    image[inside] = (1 - STRENGTH) * image[inside] + STRENGTH * colours
    return image.round().astype(np.uint8)


class CardiacPanel:
    """Draw the middle axial slice of the first volumes of a training iteration, one row for each.

    Columns: x_A (CT), its translation x_AB, the way back x_ABA, x_A with its label; then the same from x_B (MR).
    Places of translations that a phase does not compute stay empty.

    Args:
        rows: number of rows.
    """

    TITLES = ("x_A", "x_AB", "x_ABA", "y_A", "x_B", "x_BA", "x_BAB", "y_B")

    def __init__(self, rows: int = 1) -> None:
        self.rows = rows

    def __call__(self, output: Mapping[str, Any]) -> RGB:
        """Trainer's output with a `CardiacTranslation` of volumes of one size -> uint8 (H, W, 3)."""
        t = output["translation"]
        volumes = (t.x_a, t.x_ab, t.x_aba, t.y_a, t.x_b, t.x_ba, t.x_bab, t.y_b)
        rows = []
        for i in range(min(len(t.x_a), len(t.x_b), self.rows)):
            planes = [None if volume is None else _middle(volume[i]) for volume in volumes]
            tiles = [None if plane is None else Tile(grey(plane, -1.0, 1.0)) for plane in planes]
            for image, label in ((0, 3), (4, 7)):
                tiles[label] = Tile(region_overlay(tiles[image].pixels, planes[label]))
            rows.append(tiles)
        return panel(rows, self.TITLES)


def orthogonal_cuts(
    volume: np.ndarray, label: np.ndarray | None = None, limits: tuple[float, float] | None = None
) -> list[Tile]:
    """Three cuts through the middle of a volume, in the order of `CUT_TITLES`: a row of a `panel` of theirs.

    Args:
        volume: (X, Y, Z) in RAS, isotropic voxels, any intensity unit.
        label: regions (X, Y, Z) to be coloured.
        limits: intensities shown black and white; default as `window` chooses them.

    Returns:
        Square tiles of one size, dark where a cut is shorter than the longest side.
    """
    low, high = window(volume) if limits is None else limits
    side = max(volume.shape)
    tiles = []
    for axis in (2, 1, 0):
        cut = grey(upright(_cut(volume, axis)), low, high)
        if label is not None:
            cut = region_overlay(cut, upright(_cut(label, axis)))
        spare = [side - n for n in cut.shape[:2]]
        tiles.append(Tile(np.pad(cut, [*((n // 2, n - n // 2) for n in spare), (0, 0)])))
    return tiles


def _cut(volume: np.ndarray, axis: int) -> np.ndarray:
    return np.take(volume, volume.shape[axis] // 2, axis)


def _middle(volume: torch.Tensor) -> np.ndarray:
    """Middle slice of the first channel of (C, X, Y) or (C, X, Y, Z)."""
    plane = volume.detach()[0].float().cpu().numpy()
    return upright(_cut(plane, 2) if plane.ndim == 3 else plane)
