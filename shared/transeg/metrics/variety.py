"""How varied the lesions of a data set are: where they lie, how large they are, and how many shapes there are.

A place is the centre of a mask relative to that of the body, in mm along R, A and S, so that scans of different fields
of view can be compared. Shapes are compared at one place and one volume: two masks of the same form and different size
count as one shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

SIDE = 24  # voxels of the grid on which shapes are compared
EXTENT = 5.0  # its side length, in radii of the ball of the mask's volume
SAME = 0.8  # Dice of centred masks of equal volume from which on they count as one shape


@dataclass(frozen=True)
class Lesion:
    """The mask of a case.

    Attributes:
        place: its centre relative to that of the body, mm along R, A, S.
        ml: its volume.
        shape: bool (S, S, S), centred, at a common volume.
    """

    place: np.ndarray
    ml: float
    shape: np.ndarray


@dataclass(frozen=True)
class Variety:
    """What is said about the lesions of several cases.

    Attributes:
        cases: their number.
        spread_mm: root mean square distance of their places from the mean place.
        smallest_ml, median_ml, largest_ml: their volumes.
        shapes: number of different shapes, see `SAME`.
    """

    cases: int
    spread_mm: float
    smallest_ml: float
    median_ml: float
    largest_ml: float
    shapes: int

    def record(self) -> dict[str, Any]:
        """As written to a file."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def lesion_of(mask: np.ndarray, body: np.ndarray, affine: np.ndarray) -> Lesion:
    """Describe the mask of a case.

    Args:
        mask: bool (X, Y, Z), not empty.
        body: bool (X, Y, Z), not empty.
        affine: (4, 4), voxel -> mm in RAS.
    """
    axes = affine[:3, :3]
    centre, middle = (np.array(ndimage.center_of_mass(part)) for part in (mask, body))
    volume = float(mask.sum() * abs(np.linalg.det(axes)))
    step = EXTENT * (3 * volume / (4 * np.pi)) ** (1 / 3) / SIDE
    to_voxel = np.linalg.inv(axes) * step  # from the common grid, whose axes are R, A, S
    offset = centre - to_voxel @ np.full(3, (SIDE - 1) / 2)
    shape = ndimage.affine_transform(mask.astype(np.float32), to_voxel, offset, (SIDE,) * 3, order=1) >= 0.5
    return Lesion(axes @ (centre - middle), volume / 1000, shape)


def variety(lesions: Sequence[Lesion]) -> Variety:
    """Describe the lesions of several cases, at least one."""
    places, ml = np.stack([lesion.place for lesion in lesions]), np.array([lesion.ml for lesion in lesions])
    spread = float(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=1).mean()))
    shapes = count_shapes([lesion.shape for lesion in lesions])
    return Variety(len(lesions), spread, float(ml.min()), float(np.median(ml)), float(ml.max()), shapes)


def count_shapes(shapes: Sequence[np.ndarray]) -> int:
    """Number of shapes (S, S, S), bool, that differ from all counted before them, see `SAME`."""
    counted: list[np.ndarray] = []
    for shape in (shape.ravel() for shape in shapes):
        dices = (2 * np.sum(shape & other) / max(1, np.sum(shape) + np.sum(other)) for other in counted)
        if all(dice < SAME for dice in dices):
            counted.append(shape)
    return len(counted)
