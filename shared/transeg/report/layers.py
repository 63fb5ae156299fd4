"""Volumes of a case as a page shows them: bytes on one grid in RAS, small enough to travel inside the page."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from transeg.errors import DataError
from transeg.visual.tiles import window

MOST_VOXELS = 1_600_000  # of a layer; noise hardly compresses, and a scan with its translation is to stay below 5 MB
Kind = Literal["image", "labels", "probability"]


@dataclass(frozen=True)
class Layer:
    """One volume of a page.

    Args:
        name: what the page calls it.
        kind: "image" is shown in grey, "labels" by colour, "probability" (0 to 1) as heat.
        voxels: uint8 (X, Y, Z) in RAS.
        window: intensities of level 0 and 255, for an image.
    """

    name: str
    kind: Kind
    voxels: NDArray[np.uint8]
    window: tuple[float, float] = (0.0, 1.0)

    def packed(self) -> dict[str, Any]:
        """For JSON: the voxels with X fastest, deflated, in base64."""
        data = base64.b64encode(zlib.compress(self.voxels.tobytes(order="F"), 9)).decode()
        return {"name": self.name, "kind": self.kind, "window": [*self.window], "data": data}


class Grid:
    """The grid of a case's page: that of the scan turned to RAS, in blocks of n voxels along the finer axes.

    Args:
        affine: of the scan.
        shape: of the scan (X, Y, Z).
        most: voxels of a layer.
    """

    def __init__(self, affine: np.ndarray, shape: Sequence[int], most: int = MOST_VOXELS) -> None:
        self.given = tuple(shape)
        self.turn = nib.orientations.io_orientation(affine)
        order = np.argsort(self.turn[:, 0])
        size = np.asarray(nib.affines.voxel_sizes(affine))[order]
        turned = np.asarray(shape)[order]
        steps = np.ones(3, int)
        while np.prod(-(-turned // steps)) > most:
            steps[np.argmin(size * steps)] += 1
        self.voxels = turned.tolist()
        self.steps = tuple(int(step) for step in steps)
        self.spacing = [round(float(value), 4) for value in size * steps]
        axes = affine[:3, :3] / nib.affines.voxel_sizes(affine)
        self.oblique = float(np.degrees(np.arccos(min(1.0, np.abs(axes).max(axis=0).min()))))  # degrees from RAS

    def layer(self, name: str, kind: Kind, volume: np.ndarray, window_of: tuple[float, float] | None = None) -> Layer:
        """A layer of a volume on the grid of the scan.

        Args:
            name, kind: of the layer.
            volume: (X, Y, Z).
            window_of: intensities of black and white of an image; default those of `transeg.visual.tiles.window`.

        Raises:
            DataError: the volume has another shape than the scan.
        """
        if volume.shape != self.given:
            raise DataError(f"{name}: its shape {volume.shape} is not that of the scan, {self.given}")
        volume = nib.orientations.apply_orientation(volume, self.turn)
        if kind == "labels":
            return Layer(name, kind, self._blocks(volume, np.max).astype(np.uint8))  # small lesions do not vanish
        volume = np.nan_to_num(np.asarray(volume, np.float32))
        low, high = (0.0, 1.0) if kind == "probability" else window_of or window(volume)
        levels = np.clip((self._blocks(volume, np.mean) - low) / (high - low), 0, 1)
        return Layer(name, kind, np.round(255 * levels).astype(np.uint8), (low, high))

    def _blocks(self, volume: np.ndarray, reduce: Callable[..., np.ndarray]) -> np.ndarray:
        """One value of each block; those at the far ends are filled up with the last voxels."""
        if max(self.steps) == 1:
            return volume
        full = [(0, -size % step) for size, step in zip(volume.shape, self.steps, strict=True)]
        volume = np.pad(volume, full, mode="edge")
        x, y, z = self.steps
        sizes = [n // step for n, step in zip(volume.shape, self.steps, strict=True)]
        return reduce(volume.reshape(sizes[0], x, sizes[1], y, sizes[2], z), axis=(1, 3, 5))
