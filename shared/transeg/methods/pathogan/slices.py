"""Axial slices with and without tumour from brain MR volumes.

Source: Andermatt et al. 2018, section 2.5. Slices 60 to 100 of 1 mm. Presence: more than 20 pixels of tumour (all
labels merged). Absence: no tumour. The rest is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.transforms.brain import brain_preprocessing
from transeg.transforms.intensity import foreground_mask


def load_brain(
    item: Mapping[str, Any], channels: int, pixdim: float, size: Sequence[int], zero_background: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Load and preprocess {"image": files}; "mask" and "label" are optional.

    Args:
        item: files of one case.
        channels: number of channels of the images.
        pixdim: voxel size in mm.
        size: (X, Y) or (X, Y, Z) in voxels.
        zero_background: see `NormaliseBraind`.

    Returns:
        Image (C, X, Y, Z) in [-1, 1]; brain and tumour, bool (X, Y, Z), the latter empty without a label.

    Raises:
        VolumeError: a file cannot be used.
    """
    keys = [key for key in ("image", "label", "mask") if key in item]
    label_keys = ("label",) if "label" in keys else ()
    preprocess = brain_preprocessing(
        ("image",),
        label_keys,
        channels,
        pixdim=pixdim,
        size=size,
        mask_key="mask" if "mask" in keys else None,
        num_std=3.0,
        zero_background=zero_background,
    )
    volumes = preprocess({key: item[key] for key in keys})
    brain = foreground_mask(volumes["image"])[0].numpy()
    label = volumes["label"][0].numpy() > 0 if label_keys else np.zeros_like(brain)
    return volumes["image"].numpy(), brain, label


class BrainSlices:
    """Cut the volumes of one case into axial slices with intensities in [-1, 1].

    Args:
        channels: number of channels of the images.
        pixdim: voxel size in mm (paper: 1).
        size: (X, Y) of a slice in voxels (paper: 240 x 240).
        first: height of the lowest slice in mm above the bottom slice of the volume.
        last: height of the highest slice, likewise.
        min_tumour: area in mm^2 that a tumour must exceed.
        zero_background: keep the background 0; else it is normalised like the brain (the paper does not say which),
            see `NormaliseBraind`.

    Raises:
        ValueError: `first` is above `last`.
    """

    def __init__(
        self,
        channels: int = 4,
        pixdim: float = 3.0,
        size: Sequence[int] = (80, 80),
        first: float = 60.0,
        last: float = 100.0,
        min_tumour: float = 20.0,
        zero_background: bool = False,
    ) -> None:
        if last < first:
            raise ValueError(f"no slices from {first:g} to {last:g} mm: first must not exceed last")
        self.channels, self.pixdim, self.size = channels, pixdim, tuple(size)
        self.first, self.last, self.min_tumour, self.zero_background = first, last, min_tumour, zero_background

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and cut {"image": files}; "mask" and "label" are optional, labels are empty without.

        Returns:
            Slices (N, C, X, Y) with "z", their axial index in the preprocessed volume.

        Raises:
            VolumeError: a file cannot be used.
        """
        return self._chosen(*load_brain(item, self.channels, self.pixdim, self.size, self.zero_background))

    def _chosen(self, image: np.ndarray, brain: np.ndarray, label: np.ndarray) -> CaseSlices:
        height = self.pixdim * np.arange(image.shape[-1])
        inside = (height > self.first - 1e-3) & (height < self.last + 1e-3)
        shown = inside & brain.any(axis=(0, 1))
        small = shown & label.any(axis=(0, 1)) & ~self._large(np.moveaxis(label, -1, 0))
        chosen = np.flatnonzero(shown & ~small).tolist()
        images, labels = (np.moveaxis(volume[..., chosen], -1, 0) for volume in (image, label))
        dropped = {"out of range": ~inside, "no brain": inside & ~shown, "small tumour": small}
        return CaseSlices(
            images.astype(np.float16),
            labels.astype(np.uint8),
            [{"z": z} for z in chosen],
            {reason: int(which.sum()) for reason, which in dropped.items()},
        )

    def _large(self, tumour: np.ndarray) -> np.ndarray:
        return tumour.sum(axis=(1, 2)) * self.pixdim**2 > self.min_tumour

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled slices to a domain by their predictions.

        Args:
            images: (N, C, X, Y) as cut.
            probability: tumour probability (N, X, Y).

        Returns:
            bool (N,) twice: presence, if the predicted tumour is large enough; absence, if no pixel exceeds 0.1. A
            slice may be in neither domain.
        """
        return self._large(probability > 0.5), probability.max(axis=(1, 2)) < 0.1
