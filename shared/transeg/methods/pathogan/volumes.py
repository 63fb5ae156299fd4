"""Full brain MR volumes with and without tumour, for PathoGAN in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.methods.pathogan.slices import load_brain


class BrainVolumes:
    """Load one case as a stack of one volume with intensities in [-1, 1].

    Args:
        channels: number of channels of the images.
        pixdim: voxel size in mm.
        size: (X, Y, Z) in voxels, centred on the brain.
        min_tumour: volume in mm^3 that a tumour must exceed.
        zero_background: keep the background 0, see `NormaliseBraind`.

    Raises:
        ValueError: `size` does not have three elements.
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
            raise ValueError(f"size {tuple(size)}: full volumes need three numbers, X, Y and Z")
        self.channels, self.pixdim, self.size = channels, pixdim, tuple(size)
        self.min_tumour, self.zero_background = min_tumour, zero_background

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load and preprocess {"image": files}; "mask" and "label" are optional, labels are empty without.

        Returns:
            Images (N, C, X, Y, Z) and labels (N, X, Y, Z); N is 1, or 0 if the tumour is too small.

        Raises:
            VolumeError: a file cannot be used.
        """
        image, _, label = load_brain(item, self.channels, self.pixdim, self.size, self.zero_background)
        small = bool(label.any() and not self._large(label[None])[0])
        count = 0 if small else 1
        fields: list[dict[str, Any]] = [{}] * count
        images, labels = image[None][:count].astype(np.float16), label[None][:count].astype(np.uint8)
        return CaseSlices(images, labels, fields, {"small tumour": int(small)})

    def _large(self, tumour: np.ndarray) -> np.ndarray:
        return tumour.sum(axis=(1, 2, 3)) * self.pixdim**3 > self.min_tumour

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled volumes to a domain by their predictions (N, X, Y, Z); see `BrainSlices.assign_domain`."""
        return self._large(probability > 0.5), probability.max(axis=(1, 2, 3)) < 0.1
