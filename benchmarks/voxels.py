"""The strong baseline without a network: gradient boosting on a voxel's intensities and their smoothed copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.ensemble import HistGradientBoostingClassifier
from transeg.metrics.threshold import best_threshold

SIGMAS = (0, 1, 2, 4, 8)  # in pixels of a slice
FOLDS = 8
SAMPLES = 20_000  # voxels with and as many without a lesion from a scan


def describe(scan: np.ndarray) -> np.ndarray:
    """Features (X, Y, Z, features) of the voxels of a scan (C, X, Y, Z): each channel at several scales, in a slice."""
    scaled = scan / np.percentile(scan, 99.5, axis=(1, 2, 3), keepdims=True)
    smooth = [gaussian_filter(scaled, (0, sigma, sigma, 0)) for sigma in SIGMAS]
    return np.concatenate(smooth).astype(np.float32).transpose(1, 2, 3, 0)


class VoxelClassifier:
    """Learns from scans with masks, and from scans of which some slices are known to be empty.

    The threshold on its probability is the one that is best for the scans with masks, each predicted by a classifier
    that has not seen it (eightfold, or one scan at a time).

    Args:
        scans: with masks (C, X, Y, Z).
        masks: bool (X, Y, Z).
        others: further scans.
        empty: which of their slices are known to be empty, bool (Z,).
    """

    def __init__(
        self, scans: Sequence[np.ndarray], masks: Sequence[np.ndarray],
        others: Sequence[np.ndarray] = (), empty: Sequence[np.ndarray] = (),
    ) -> None:  # fmt: skip
        rng = np.random.default_rng(0)
        features = [describe(scan) for scan in scans]
        known = [_sample(found, mask, rng) for found, mask in zip(features, masks, strict=True)]
        rest = []
        for scan, slices in zip(others, empty, strict=True):
            if slices.any():
                found = describe(scan)[:, :, slices]
                rest.append(_sample(found, np.zeros(found.shape[:3], bool), rng))
        fold = np.arange(len(scans)) % FOLDS
        models = [_fit([*(known[k] for k in np.flatnonzero(fold != held)), *rest]) for held in np.unique(fold)]
        held_out = [_probability(models[fold[k]], found) for k, found in enumerate(features)]
        self.threshold = best_threshold(held_out, masks)
        self.model = _fit([*known, *rest])

    def __call__(self, scan: np.ndarray) -> np.ndarray:
        """Mask (X, Y, Z) of a scan (C, X, Y, Z)."""
        return _probability(self.model, describe(scan)) > self.threshold


def _sample(features: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for inside in (True, False):
        found = features[mask == inside]
        parts.append(found[rng.permutation(len(found))[:SAMPLES]])
    return np.concatenate(parts), np.repeat([True, False], [len(part) for part in parts])


def _fit(samples: Sequence[tuple[np.ndarray, np.ndarray]]) -> HistGradientBoostingClassifier:
    features, labels = (np.concatenate(part) for part in zip(*samples, strict=True))
    return HistGradientBoostingClassifier(random_state=0).fit(features, labels)


def _probability(model: HistGradientBoostingClassifier, features: np.ndarray) -> np.ndarray:
    return model.predict_proba(features.reshape(-1, features.shape[-1]))[:, 1].reshape(features.shape[:3])
