"""The baseline without a network finds what intensities at two scales tell."""

import numpy as np
from transeg.metrics.overlap import dice

from benchmarks.voxels import VoxelClassifier


def make(seed):
    """A bright disc, which is the lesion, and bright noise, which a threshold would mark too."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((48, 48, 6))
    mask = (x - rng.integers(16, 32)) ** 2 + (y - rng.integers(16, 32)) ** 2 < 8**2
    mask &= (z > 0) & (z < 4)
    scan = rng.uniform(1, 2, (2, *mask.shape)) + mask * np.array([0.4, 0]).reshape(2, 1, 1, 1)
    scan[0] += rng.uniform(size=mask.shape) < 0.1
    return scan, mask


def test_lesions_are_found_with_few_masks_and_empty_slices():
    scans, masks = zip(*(make(seed) for seed in range(3)), strict=True)
    other, truth = make(3)
    classifier = VoxelClassifier(scans, masks, [other], [~truth.any((0, 1))])
    held_out, mask = make(4)
    assert dice(classifier(held_out), mask) > 0.7
    levels = np.quantile(held_out[0], np.linspace(0.5, 1, 40))
    assert dice(classifier(held_out), mask) > max(dice(held_out[0] > level, mask) for level in levels) + 0.2
