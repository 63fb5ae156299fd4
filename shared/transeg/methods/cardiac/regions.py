"""Overlap of the regions of label maps, and how a translation changes the volume and shape of each region."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from transeg.metrics.overlap import dice


def region_dice(prediction: ArrayLike, label: ArrayLike, regions: Sequence[str]) -> dict[str, float]:
    """Hard Dice of each region of one volume; NaN for a region that is absent from both.

    The S-score of Zhang et al. 2018, section 5.2, is the mean over regions and volumes for predictions on translations,
    compared with the labels of the original volumes. The segmenter must be trained on real volumes of the modality of
    the translation only, independently of the generators; the score is listed under that modality.

    Args:
        prediction: class map (*S), 0 for background, then the regions.
        label: class map (*S).
        regions: names of classes 1, 2, ...

    Raises:
        ValueError: different shapes, or a class without a name.
    """
    s, y = _classes(regions, prediction, label)
    return {name: dice(s == k, y == k) for k, name in enumerate(regions, 1)}


class RegionChange(NamedTuple):
    """A region in the segmentations of a scan and its translation: volumes in ml, their difference, Dice."""

    region: str
    source_ml: float
    translation_ml: float
    change_ml: float
    dice: float


def region_changes(
    source: ArrayLike, translation: ArrayLike, regions: Sequence[str], spacing: Sequence[float] | float = 1.0
) -> list[RegionChange]:
    """Compare the segmentations of a scan and its translation, region by region.

    Args:
        source: class map (X, Y, Z) of the scan, see `region_dice`.
        translation: class map (X, Y, Z) of the translation.
        regions: names of classes 1, 2, ...
        spacing: voxel size in mm, one or three numbers.

    Raises:
        ValueError: different shapes, or a class without a name.
    """
    before, after = _classes(regions, source, translation)
    ml = float(np.broadcast_to(np.asarray(spacing, dtype=float), (3,)).prod()) / 1000
    overlaps = region_dice(before, after, regions)
    changes = []
    for k, name in enumerate(regions, 1):
        old, new = ml * int((before == k).sum()), ml * int((after == k).sum())
        changes.append(RegionChange(name, old, new, new - old, overlaps[name]))
    return changes


def _classes(regions: Sequence[str], *maps: ArrayLike) -> list[np.ndarray]:
    arrays = [np.asarray(values) for values in maps]
    if arrays[0].shape != arrays[1].shape:
        raise ValueError(f"label maps {arrays[0].shape} and {arrays[1].shape} differ in shape")
    for array in arrays:
        unknown = sorted(set(np.unique(array).tolist()) - set(range(len(regions) + 1)))
        if unknown:
            raise ValueError(f"classes {unknown} have no name: expected 0 to {len(regions)} ({', '.join(regions)})")
    return arrays
