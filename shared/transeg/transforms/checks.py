"""Checks of the voxels of a volume: missing values, label values, units of CT."""

from __future__ import annotations

import logging
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from transeg.errors import VolumeError, listed
from transeg.files import file_name

logger = logging.getLogger(__name__)

MAX_NAMED = 10  # values in a message


def fill_outside(voxels: np.ndarray, name: str) -> np.ndarray:
    """Replace NaN outside of the imaged region, and warn.

    NaN are outside if each connected region of them (by faces) reaches the border of the volume. They become 0, or in
    a CT, i.e. a channel with values below -500, its minimum.

    Args:
        voxels: float32 (C, X, Y, Z).
        name: what messages call the volume.

    Returns:
        The same array if it is finite, otherwise a filled copy.

    Raises:
        VolumeError: infinite voxels, NaN elsewhere, or nothing but NaN.
    """
    finite = [np.isfinite(channel).all() for channel in voxels]
    if all(finite):
        return voxels
    filled = voxels.copy()
    for number in np.flatnonzero(np.logical_not(finite)):
        channel = filled[number]
        missing = np.isnan(channel)
        inside = _inside(missing) | np.isinf(channel)
        bad = int(np.count_nonzero(inside))
        if bad or missing.all():
            where = "inside the volume" if bad else "only"
            raise VolumeError(
                f"{name}: {bad or missing.size} NaN or infinite voxels {where}; replace them (e.g. by 0 in the "
                "background)"
            )
        lowest = float(channel[~missing].min())
        fill = lowest if lowest < -500 else 0.0
        channel[missing] = fill
        logger.warning("%s: %d NaN voxels at the border, replaced by %g", name, int(missing.sum()), fill)
    return filled


def _inside(missing: np.ndarray) -> np.ndarray:
    """Voxels of the regions that do not reach the border."""
    regions, count = ndimage.label(missing)
    at_border = np.zeros(count + 1, bool)
    for axis in range(missing.ndim):
        for end in (0, -1):
            at_border[np.take(regions, end, axis)] = True
    return missing & ~at_border[regions]


def check_not_zero(voxels: np.ndarray, name: str) -> None:
    """Raise `VolumeError` if a channel of (C, X, Y, Z) is zero everywhere."""
    for number, channel in enumerate(voxels):
        if not channel.any():
            which = f"channel {number} of the volume" if len(voxels) > 1 else "the volume"
            raise VolumeError(f"{name}: {which} is all zero; replace the file or exclude the case")


def no_mask(value: float) -> str:
    """What is wrong with a label file that has a broken number."""
    return f"no mask: it has values such as {value:g}; a mask has whole numbers"


def check_labels(voxels: np.ndarray, allowed: Collection[int] | Mapping[int, int], name: str) -> np.ndarray:
    """Check the values of a mask; round them, or map them to classes.

    Args:
        voxels: float32 (C, X, Y, Z).
        allowed: values that may occur, to within 1e-3, or the class of each.
        name: what messages call the volume.

    Returns:
        Rounded values, or classes, float32 (C, X, Y, Z).

    Raises:
        VolumeError: other values; the message counts the voxels of each.
    """
    values, counts = np.unique(voxels, return_counts=True)
    known = np.array(sorted(allowed))
    distance = np.abs(values[:, None] - known[None])
    strange = distance.min(axis=1) > 1e-3
    if strange.any():
        broken = values[strange & (np.abs(values - values.round()) > 1e-3)]
        if broken.size:
            raise VolumeError(f"{name}: {no_mask(broken[0])}")
        pairs = list(zip(values[strange].tolist(), counts[strange].tolist(), strict=True))
        named = listed([f"{value:g} ({count} voxel{'s' * (count > 1)})" for value, count in pairs], MAX_NAMED)
        raise VolumeError(
            f"{name}: {len(pairs)} unknown label value(s): {named}; allowed are {known.tolist()}. Map them with "
            "--labels NAME=VALUE; --labels background=VALUE ignores one"
        )
    rounded = voxels.round()
    if not isinstance(allowed, Mapping):
        return rounded
    classes = rounded.copy()
    for value in known[np.unique(distance.argmin(axis=1))]:
        if allowed[int(value)] != value:
            classes[rounded == value] = allowed[int(value)]
    return classes


def check_hounsfield(image: MetaTensor) -> None:
    """Check that a CT is in Hounsfield units, and not shifted by +1024 as stored in unsigned files.

    In a shifted scan, nothing is air, -1200 to -200 HU (padding may be below, such as -2000), and much of it (more than
    a tenth) is soft tissue, -100 to 200 HU, at 924 to 1224. In a scan in HU that is only dense bone, less than a few
    percent.

    Args:
        image: (1, X, Y, Z) in the units of the file.

    Raises:
        VolumeError: it is shifted.
    """
    voxels = image.numpy()
    air, tissue = (np.mean((voxels >= low) & (voxels <= high)) for low, high in ((-1200, -200), (924, 1224)))
    if air < 0.01 and tissue > 0.1:  # resampling blurs the edge of padding
        raise VolumeError(
            f"{file_name(image)}: CT stored with an offset of 1024 (no air near -1000, soft tissue near 1060) instead "
            "of Hounsfield units; subtract 1024, or set the rescale intercept (scl_inter) to -1024"
        )


class CheckHounsfieldd(MapTransform):
    """Check the units of a CT if an intensity window says that it is one, see `check_hounsfield`.

    Args:
        keys: images (C, X, Y, Z) in the units of their files.
        window: (low, high); None, or one that does not begin below 0, which other modalities may have, checks nothing.
    """

    def __init__(self, keys: KeysCollection, window: Sequence[float] | None) -> None:
        super().__init__(keys)
        self.hounsfield = window is not None and window[0] < 0

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the item unchanged."""
        if self.hounsfield:
            for key in self.key_iterator(data):
                check_hounsfield(data[key])
        return dict(data)
