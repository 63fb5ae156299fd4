"""Slices of one size with what matters in the middle."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import CropForeground, CropForegroundd

from transeg.errors import VolumeError
from transeg.files import file_name

logger = logging.getLogger(__name__)


class _CentreForeground(CropForeground):
    """Crop or pad the first axes to `size` around the middle of the foreground's bounding box; other axes keep their
    extent."""

    def __init__(self, size: Sequence[int], select_fn: Callable, name: str) -> None:
        super().__init__(select_fn)
        self.size, self.name = tuple(size), name

    def compute_bounding_box(self, img: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the first corner of the box and the corner behind its last voxel; both may lie outside."""
        mask = np.asarray(self.select_fn(img))[0]
        if not mask.any():
            raise VolumeError(f"{file_name(img)}: no {self.name} (no voxel of it is found); check the image")
        if mask.mean() > 0.99:
            logger.warning("%s: no zero background, so all of it counts as %s", file_name(img), self.name)
        start, end = np.zeros(mask.ndim, dtype=int), np.array(mask.shape)
        for axis, length in enumerate(self.size):
            along = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
            start[axis] = (along[0] + along[-1] + 1) // 2 - length // 2
            end[axis] = start[axis] + length
            if along[0] < start[axis] or along[-1] >= end[axis]:
                logger.warning(
                    "%s: the %s spans %d voxels along axis %d, more than the slice size %d; "
                    "the rest is cut off and counted as background",
                    file_name(img), self.name, along[-1] - along[0] + 1, axis, length,
                )  # fmt: skip
        return start, end


class CentreForegroundd(CropForegroundd):
    """Crop or pad X and Y, or all axes, of all keys to `size`, centred on the foreground of `source_key`; invertible.

    Pads with 0.

    Args:
        keys: volumes (C, X, Y, Z).
        source_key: the volume whose foreground is meant.
        size: (X, Y) or (X, Y, Z) in voxels.
        select_fn: (C, X, Y, Z) -> bool (1, X, Y, Z), the foreground.
        name: of the foreground, for messages.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str, size: Sequence[int], select_fn: Callable, name: str
    ) -> None:
        super().__init__(keys, source_key, start_coord_key=None, end_coord_key=None)
        self.cropper = _CentreForeground(size, select_fn, name)


class _CropAtCentre(CropForeground):
    """Crop or pad to `size` around the point (mm) that the meta data of the volume hold under `name`."""

    def __init__(self, size: Sequence[int], name: str) -> None:
        super().__init__()
        self.size, self.name = np.array(size), name

    def compute_bounding_box(self, img: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the first corner of the box and the corner behind its last voxel; both may lie outside."""
        to_voxel = np.linalg.inv(np.asarray(img.affine, dtype=np.float64))
        voxel = to_voxel[:3, :3] @ np.asarray(img.meta[self.name], dtype=np.float64) + to_voxel[:3, 3]
        start = np.floor(voxel + 1 - self.size / 2).astype(int)
        if (start >= img.shape[1:]).any() or (start + self.size <= 0).any():
            point = ", ".join(f"{float(value):.0f}" for value in img.meta[self.name])
            raise VolumeError(f"{file_name(img)}: nothing of the image lies around ({point}) mm; correct the centre")
        return start, start + self.size


class CropAtCentred(CropForegroundd):
    """Crop or pad all axes of all keys to `size` around a point in mm; pads with 0. Invertible.

    Args:
        keys: volumes (C, X, Y, Z) of one grid.
        source_key: the volume whose meta data hold the point.
        size: (X, Y, Z) in voxels; the point is within half a voxel of the middle of the box.
        name: of the point (3,) in the meta data, world coordinates.

    Raises:
        VolumeError: the box lies outside of the image.
    """

    def __init__(self, keys: KeysCollection, source_key: str, size: Sequence[int], name: str) -> None:
        super().__init__(keys, source_key, start_coord_key=None, end_coord_key=None)
        self.cropper = _CropAtCentre(size, name)
