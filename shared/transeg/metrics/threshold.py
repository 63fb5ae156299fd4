"""The trivial baseline: one threshold on one channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transeg.errors import DataError


def best_threshold(images: Sequence[np.ndarray], labels: Sequence[np.ndarray], candidates: int = 200) -> float:
    """Threshold t that maximises the mean Dice of the masks image > t over the volumes.

    Args:
        images: volumes of any shape with the same normalisation, from the training or validation split.
        labels: masks of the same shapes, non-zero = inside; volumes with an empty mask are left out.
        candidates: number of candidate thresholds, quantiles of the non-zero voxels.

    Raises:
        DataError: no volume has a lesion.
    """
    pairs = [(np.ravel(i), np.ravel(y) != 0) for i, y in zip(images, labels, strict=True) if np.any(y)]
    if not pairs:
        raise DataError("choosing a threshold needs volumes with a lesion; none has one")
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
