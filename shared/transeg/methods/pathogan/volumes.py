"""Brain MR volumes with and without tumour, each as a whole: PathoGAN in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.methods.pathogan.slices import load_brain


class BrainVolumes:
    """Makes the volumes of one case a stack of slices with a single entry, which is a volume in [-1, 1].

    Args:
        channels: number of channels of the images.
        pixdim: voxel size in mm.
        size: (X, Y, Z) in voxels, centred on the brain.
        min_tumour: volume in mm^3 that a tumour must exceed, if there is any.
        zero_background: keep the background 0, see `NormaliseBraind`.

    Raises:
        ValueError: `size` is not that of a volume.
    """

    def __init__(
        self,
        channels: int = 4,
        pixdim: float = 3.75,
        size: Sequence[int] = (64, 64, 64),
        min_tumour: float = 1000.0,
        zero_background: bool = False,
    ) -> None:
        if len(size) != 3:
            raise ValueError(f"size {tuple(size)}: whole volumes need three numbers, X, Y and Z")
        self.channels, self.pixdim, self.size = channels, pixdim, tuple(size)
        self.min_tumour, self.zero_background = min_tumour, zero_background

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load and preprocess {"image": files}, with "label" (else labels are empty) and "mask" if there are any.

        Returns:
            Images (N, C, X, Y, Z) and labels (N, X, Y, Z); N is 1, or 0 where the tumour is too small.

        Raises:
            VolumeError: a file cannot be used.
        """
        image, _, label = load_brain(item, self.channels, self.pixdim, self.size, self.zero_background)
        small = bool(label.any() and not self._large(label[None])[0])
        kept = slice(0, 0 if small else 1)
        return CaseSlices(
            image[None][kept].astype(np.float16),
            label[None][kept].astype(np.uint8),
            [{}][kept],
            {"small tumour": int(small)},
        )

    def _large(self, tumour: np.ndarray) -> np.ndarray:
        return tumour.sum(axis=(1, 2, 3)) * self.pixdim**3 > self.min_tumour

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Domain of unlabelled volumes, by a prediction (N, X, Y, Z); see `BrainSlices.assign_domain`."""
        return self._large(probability > 0.5), probability.max(axis=(1, 2, 3)) < 0.1
