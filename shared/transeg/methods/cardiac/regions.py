"""Several regions in one label map: overlap, and what a translation does to volume and shape of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from transeg.metrics.overlap import dice


def region_dice(prediction: ArrayLike, label: ArrayLike, regions: Sequence[str]) -> dict[str, float]:
    """Hard Dice of each region of one volume; NaN for a region that is absent in both.

    With the prediction of a segmenter on a translation, a segmenter that was trained on real volumes of that modality
    and has seen nothing of the generators, and the label of the volume that was translated, the mean over regions and
    volumes is the S-score of Zhang et al. 2018, section 5.2. It is listed under the modality of the translation.

    Args:
        prediction: classes (*S), 0 for background, then the regions.
        label: likewise.
        regions: names of the classes 1, 2, and so on.

    Raises:
        ValueError: shapes differ, or a class has no name.
    """
    s, y = _classes(regions, prediction, label)
    return {name: dice(s == k, y == k) for k, name in enumerate(regions, 1)}


class RegionChange(NamedTuple):
    """A region in the segmentation of a scan and of its translation: volumes in ml, their difference, their Dice."""

    region: str
    source_ml: float
    translation_ml: float
    change_ml: float
    dice: float


def region_changes(
    source: ArrayLike, translation: ArrayLike, regions: Sequence[str], spacing: Sequence[float] | float = 1.0
) -> list[RegionChange]:
    """Compare the segmentation of a scan with that of its translation, region by region.

    Args:
        source: classes (X, Y, Z), as for `region_dice`.
        translation: likewise.
        regions: names of the classes 1, 2, and so on.
        spacing: voxel size in mm, one or three numbers.

    Raises:
        ValueError: shapes differ, or a class has no name.
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
