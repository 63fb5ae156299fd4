"""Crop to a fixed size around a foreground or a point."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import CropForeground, CropForegroundd

from transeg.errors import VolumeError
from transeg.files import file_name

logger = logging.getLogger(__name__)

CUT = "foreground_cut"  # key in the meta data of an image: whether a crop cut off some of the foreground
ROUNDING = 1e-3  # of a voxel: a point on a voxel's centre must not move to the one before by the noise of its affine


class _CentreForeground(CropForeground):
    """Crop or pad the first axes to `size`, centred on the foreground's bounding box; other axes stay as they are."""

    def __init__(self, size: Sequence[int], select_fn: Callable, name: str) -> None:
        super().__init__(select_fn)
        self.size, self.name = tuple(size), name

    def compute_bounding_box(self, img: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return start (inclusive) and end (exclusive) of the box, which may extend beyond the image."""
        mask = np.asarray(self.select_fn(img))[0]
        if not mask.any():
            raise VolumeError(f"{file_name(img)}: {self.name} not found (empty mask); check the image")
        if mask.mean() > 0.99:
            logger.warning("%s: no zero background, so the whole image counts as %s", file_name(img), self.name)
        start, end = np.zeros(mask.ndim, dtype=int), np.array(mask.shape)
        for axis, length in enumerate(self.size):
            along = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
            start[axis] = (along[0] + along[-1] + 1) // 2 - length // 2
            end[axis] = start[axis] + length
            if along[0] < start[axis] or along[-1] >= end[axis]:
                logger.warning(
                    "%s: the %s spans %d voxels along axis %d, more than the slice size %d; "
                    "the excess is cropped and treated as background",
                    file_name(img), self.name, along[-1] - along[0] + 1, axis, length,
                )  # fmt: skip
        return start, end


class CentreForegroundd(CropForegroundd):
    """Crop or pad X and Y, or all axes, of all keys to `size`, centred on the foreground of `source_key`; invertible.

    Pads with 0. The meta data of the volumes then tell whether some of the foreground is cut off (`CUT`).

    Args:
        keys: volumes (C, X, Y, Z).
        source_key: volume that defines the foreground.
        size: (X, Y) or (X, Y, Z) in voxels.
        select_fn: foreground, (C, X, Y, Z) -> bool (1, X, Y, Z).
        name: what messages call the foreground.

    Raises:
        VolumeError: the foreground is empty.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str, size: Sequence[int], select_fn: Callable, name: str
    ) -> None:
        super().__init__(keys, source_key, start_coord_key=None, end_coord_key=None)
        self.cropper = _CentreForeground(size, select_fn, name)

    def __call__(self, data: Mapping[Hashable, torch.Tensor], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Return a copy of the item with cropped volumes."""
        item = super().__call__(data, lazy)
        before, after = (int((self.cropper.select_fn(items[self.source_key])).sum()) for items in (data, item))
        for key in self.key_iterator(item):
            volume = item[key]
            assert isinstance(volume, MetaTensor)
            volume.meta[CUT] = after < before
        return item


def reaches_border(mask: np.ndarray, axes: Sequence[int] = (0, 1, 2)) -> bool:
    """Whether a structure reaches an end of the volume, where it may be cut off.

    Args:
        mask: bool (X, Y, Z).
        axes: those that count.
    """
    return any(bool(np.take(mask, end, axis).any()) for axis in axes for end in (0, -1))


class _CropAtCentre(CropForeground):
    """Crop or pad to `size` around the point (mm) stored under `name` in the metadata."""

    def __init__(self, size: Sequence[int], name: str) -> None:
        super().__init__()
        self.size, self.name = np.array(size), name

    def compute_bounding_box(self, img: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return start (inclusive) and end (exclusive) of the box, which may extend beyond the image."""
        assert isinstance(img, MetaTensor)  # the point is in its metadata
        point = np.asarray(img.meta[self.name], dtype=np.float64)
        to_voxel = np.linalg.inv(img.affine.double().numpy())
        voxel = to_voxel[:3, :3] @ point + to_voxel[:3, 3]
        start = np.floor(voxel + 1 - self.size / 2 + ROUNDING).astype(int)
        if (start >= img.shape[1:]).any() or (start + self.size <= 0).any():
            at = ", ".join(f"{value:.0f}" for value in point)
            raise VolumeError(f"{file_name(img)}: nothing of the image lies around ({at}) mm; correct the centre")
        return start, start + self.size


class CropAtCentred(CropForegroundd):
    """Crop or pad all axes of all keys to `size` around a point in mm; pads with 0. Invertible.

    Args:
        keys: volumes (C, X, Y, Z) on one grid.
        source_key: volume whose metadata hold the point.
        size: (X, Y, Z) in voxels; the point is within half a voxel of the centre of the box.
        name: metadata key of the point (3,), in world coordinates.

    Raises:
        VolumeError: the box lies outside the image.
    """

    def __init__(self, keys: KeysCollection, source_key: str, size: Sequence[int], name: str) -> None:
        super().__init__(keys, source_key, start_coord_key=None, end_coord_key=None)
        self.cropper = _CropAtCentre(size, name)
