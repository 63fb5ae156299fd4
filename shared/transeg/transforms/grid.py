"""A volume that is open but not read, and the distance between two grids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from transeg.errors import VolumeError

GRID_TOLERANCE = 0.05  # of the smallest voxel size: below it, grids count as one; tools round when writing
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class VolumeFile(NamedTuple):
    """A volume that is open but whose voxels are not read."""

    name: str  # its reference
    shape: tuple[int, int, int]
    channels: int
    affine: np.ndarray  # (4, 4), voxel -> mm in RAS world coordinates, as in nibabel
    meta: dict[str, Any]
    voxels: Callable[[], np.ndarray]  # reads float32 (C, X, Y, Z)


def grid_distance(affine: np.ndarray, other: np.ndarray, shape: Sequence[int]) -> float:
    """Largest distance in mm between the corners of two grids of one shape (X, Y, Z)."""
    corners = np.stack(np.meshgrid(*[(0, max(size - 1, 1)) for size in shape], [1], indexing="ij"), -1).reshape(-1, 4)
    return float(np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max())


def voxel_size(affine: np.ndarray) -> np.ndarray:
    """Voxel size (X, Y, Z) in mm."""
    return np.linalg.norm(affine[:3, :3], axis=0)


@contextmanager
def reading(name: object, kind: str = "volume") -> Iterator[None]:
    """Turn whatever a reader raises into a `VolumeError` that names the file."""
    try:
        yield
    except VolumeError:
        raise
    except Exception as error:  # readers raise whatever their codecs do
        why = " ".join(str(error).split())[-200:] or type(error).__name__
        raise VolumeError(f"{name}: cannot be read (truncated or not a {kind} file); copy it again ({why})") from error
