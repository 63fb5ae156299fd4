"""The trivial segmenter that any method must beat: one threshold on one channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def best_threshold(images: Sequence[np.ndarray], labels: Sequence[np.ndarray], candidates: int = 200) -> float:
    """Threshold t for which the masks image > t have the highest mean Dice over the volumes.

    Args:
        images: volumes of any shape, normalised alike; choose on training or validation data.
        labels: masks of the same shapes, non-zero = inside; a volume without any is left out.
        candidates: quantiles of all voxels that are tried.

    Raises:
        ValueError: no volume has a lesion.
    """
    pairs = [(np.ravel(i), np.ravel(y) != 0) for i, y in zip(images, labels, strict=True) if np.any(y)]
    if not pairs:
        raise ValueError("a threshold is chosen on volumes with a lesion, and none has one")
    values = np.concatenate([image[image != 0] for image, _ in pairs])
    thresholds = np.unique(np.quantile(values, np.linspace(0, 1, candidates)))
    scores = np.zeros(len(thresholds))
    for image, label in pairs:
        # voxels above each threshold, in all and inside the label
        above = len(image) - np.searchsorted(np.sort(image), thresholds, side="right")
        inside = np.sort(image[label])
        hits = len(inside) - np.searchsorted(inside, thresholds, side="right")
        scores += 2 * hits / (above + len(inside))
    return float(thresholds[scores.argmax()])
