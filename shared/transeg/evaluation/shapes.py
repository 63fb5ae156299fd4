"""The trivial baseline of anatomy that looks alike everywhere: a mean shape, which looks at no image."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import nibabel as nib
import numpy as np

SIDE = 64  # voxels along each axis of the common grid
FEWEST = 3  # patients


class MeanShapes:
    """For each patient the most frequent class at each place in the references of all other patients.

    References are turned to RAS and stretched to one grid, whatever their field of view.

    Args:
        classes: number of classes with the background.
    """

    def __init__(self, classes: int) -> None:
        self._votes = np.zeros((classes, SIDE, SIDE, SIDE), np.int32)
        self._own: dict[str, list[bytes]] = {}

    def add(self, patient: str, reference: np.ndarray, affine: np.ndarray) -> None:
        """Add the classes (X, Y, Z) of a reference with its affine (4, 4)."""
        turned = nib.orientations.apply_orientation(reference, nib.io_orientation(affine))
        stretched = _stretch(turned.astype(np.uint8), (SIDE,) * 3)
        self._own.setdefault(patient, []).append(zlib.compress(stretched.tobytes(), 1))
        for k, votes in enumerate(self._votes):
            votes += stretched == k

    def say_something(self) -> bool:
        """Whether there are enough patients, and any place belongs to a structure in most of their references."""
        return len(self._own) >= FEWEST and any(self._shape(patient).any() for patient in self._own)

    def predict(self, patient: str, shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
        """Classes (X, Y, Z) of a patient's scan, by the references of the others."""
        turn = nib.io_orientation(affine)
        sizes = [0, 0, 0]
        for axis, world in enumerate(turn[:, 0].astype(int)):
            sizes[world] = shape[axis]
        stretched = _stretch(self._shape(patient), sizes)
        back = nib.orientations.ornt_transform(np.array([[0, 1], [1, 1], [2, 1]]), turn)
        return nib.orientations.apply_orientation(stretched, back)

    def _shape(self, patient: str) -> np.ndarray:
        votes = self._votes.copy()
        for packed in self._own[patient]:
            own = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(votes.shape[1:])
            for k, of_class in enumerate(votes):
                of_class -= own == k
        return votes.argmax(axis=0).astype(np.uint8)


def _stretch(volume: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Nearest neighbours of the same relative places."""
    places = [((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(shape, volume.shape, strict=True)]
    return volume[np.ix_(*places)]
