"""Colour maps for images, signed residuals and probabilities: arrays (H, W) to uint8 (H, W, 3)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]
Slice = NDArray[np.floating]

REMOVED, ADDED = (255, 150, 60), (80, 170, 255)  # residual above and below zero: orange and blue
PREDICTION, REFERENCE = (255, 196, 61), (64, 224, 170)  # outlines: amber and green
LABEL_COLOURS = np.array([[64, 190, 120], [255, 196, 61], [235, 80, 60], [90, 200, 235], [70, 105, 240]])
STRENGTH = 0.55  # of an overlay
_HEAT = np.array([[0, 0, 0], [70, 16, 110], [182, 54, 121], [251, 136, 97], [252, 253, 191]], dtype=float)


SIDES = ("AP", "RL", "RL")  # of an upright slice across an axis of RAS: what lies at its left and right edge


def upright(slice_: np.ndarray) -> np.ndarray:
    """Slice of a volume in RAS -> image (rows, columns) in radiological display.

    Axial and coronal: the patient's right on the left; anterior or superior up. Sagittal: anterior on the left.
    """
    return np.rot90(slice_)[:, ::-1]


def window(image: Slice, inside: NDArray[np.bool_] | None = None) -> tuple[float, float]:
    """Intensities of black and white: the 0.5 and 99.5 percentiles, within `inside` unless that is empty."""
    values = image[inside] if inside is not None and inside.any() else image
    low, high = (float(x) for x in np.percentile(values, [0.5, 99.5]))
    return low, high if high > low else low + 1.0


def grey(image: Slice, low: float, high: float, inside: NDArray[np.bool_] | None = None) -> RGB:
    """Grey from `low` (black) to `high` (white); black outside `inside`."""
    level = np.clip((image - low) / (high - low), 0, 1)
    if inside is not None:
        level = level * inside
    return np.repeat(np.round(255 * level).astype(np.uint8)[..., None], 3, axis=-1)


def diverging(residual: Slice, limit: float) -> RGB:
    """Orange above zero, blue below, black at zero; full colour at +-`limit`."""
    level = np.clip(residual / limit, -1, 1)[..., None]
    return np.round(np.maximum(level, 0) * REMOVED + np.maximum(-level, 0) * ADDED).astype(np.uint8)


def heat(probability: Slice) -> RGB:
    """Values from 0 to 1 as black, purple, orange, pale yellow."""
    position = np.clip(probability, 0, 1) * (len(_HEAT) - 1)
    anchors = np.arange(len(_HEAT))
    return np.stack([np.interp(position, anchors, _HEAT[:, c]) for c in range(3)], axis=-1).round().astype(np.uint8)


def label_overlay(ground: RGB, label: np.ndarray) -> RGB:
    """Overlay an image (H, W, 3) with the structures of a label map (H, W), 0 for background."""
    image, inside = ground.astype(float), np.asarray(label) > 0
    colours = LABEL_COLOURS[(np.asarray(label)[inside].astype(int) - 1) % len(LABEL_COLOURS)]
    image[inside] = (1 - STRENGTH) * image[inside] + STRENGTH * colours
    return image.round().astype(np.uint8)
