"""Axial half-slices with and without tumour from brain MR volumes.

Source: Vorontsov et al., section 4.4. Axial slices are cut at mid-width into two half-slices. Presence: more than 25 %
of the area is brain and more than 1 % of the brain is tumour (all labels merged). Absence: as much brain, no tumour.
The rest is dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from transeg.data.slices import CaseSlices
from transeg.transforms.brain import brain_mask, brain_preprocessing

SIDES = ("left", "right")  # X runs from left to right


class BrainHalfSlices:
    """Cut the volumes of one case into half-slices.

    Args:
        channels: number of channels of the images.
        pixdim: voxel size in mm (paper: 1).
        size: (X, Y) of a whole slice in voxels (paper: 240 x 240); X even.
        min_brain: share of a half-slice that brain must exceed.
        min_tumour: share of the brain pixels that a tumour must exceed.

    Raises:
        ValueError: X is odd.
    """

    def __init__(
        self,
        channels: int = 4,
        pixdim: float = 2.0,
        size: Sequence[int] = (120, 120),
        min_brain: float = 0.25,
        min_tumour: float = 0.01,
    ) -> None:
        if min(size) < 2 or size[0] % 2:
            raise ValueError(f"size {tuple(size)}: the width must be even, as slices are cut into halves")
        self.channels, self.pixdim, self.size = channels, pixdim, tuple(size)
        self.min_brain, self.min_tumour = min_brain, min_tumour

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and cut {"image": files}; "mask" and "label" are optional, labels are empty without.

        Raises:
            VolumeError: a file cannot be used.
        """
        keys = [key for key in ("image", "label", "mask") if key in item]
        label_keys = ("label",) if "label" in keys else ()
        mask_key = "mask" if "mask" in keys else None
        preprocess = brain_preprocessing(
            ("image",), label_keys, self.channels, pixdim=self.pixdim, size=self.size, clip=False, mask_key=mask_key
        )
        volumes = preprocess({key: item[key] for key in keys})
        image = volumes["image"].numpy()
        label = volumes["label"][0].numpy() if label_keys else np.zeros(image.shape[1:], np.uint8)
        return half_slices(image, label, self.min_brain, self.min_tumour)

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled half-slices to a domain by their predictions.

        Args:
            images: (N, C, X, Y) as cut.
            probability: tumour probability (N, X, Y).

        Returns:
            bool (N,) twice: presence, if the predicted tumour is large enough; absence, if no pixel exceeds 0.1. A
            half-slice may be in neither domain.
        """
        brain = (images != 0).any(axis=1).sum(axis=(1, 2))
        tumour = (probability > 0.5).sum(axis=(1, 2))
        return tumour > self.min_tumour * brain, probability.max(axis=(1, 2)) < 0.1


def half_slices(image: np.ndarray, label: np.ndarray, min_brain: float = 0.25, min_tumour: float = 0.01) -> CaseSlices:
    """Cut a preprocessed volume into half-slices and keep those that belong to a domain.

    Args:
        image: (C, X, Y, Z), X and Y centred on the brain, 0 outside it.
        label: (X, Y, Z), above 0 in the tumour.
        min_brain: share of a half-slice that brain must exceed.
        min_tumour: share of the brain pixels that a tumour must exceed.

    Returns:
        Half-slices (N, C, X / 2, Y), left before right for each axial slice, with "z" (axial index in the
        preprocessed volume) and "side".
    """
    half = image.shape[1] // 2
    parts = [slice(0, half), slice(half, 2 * half)]
    mask = brain_mask(torch.from_numpy(image))[0].numpy()
    brain, tumour = (
        np.stack([np.count_nonzero(volume[part], axis=(0, 1)) for part in parts], axis=1) for volume in (mask, label)
    )  # (Z, 2) pixels
    large = brain > min_brain * half * image.shape[2]
    small_tumour = (tumour > 0) & (tumour <= min_tumour * brain)
    chosen = np.argwhere(large & ~small_tumour).tolist()
    images = np.empty((len(chosen), len(image), half, image.shape[2]), np.float16)
    labels = np.empty((len(chosen), half, image.shape[2]), np.uint8)
    for n, (z, side) in enumerate(chosen):
        images[n] = image[:, parts[side], :, z]
        labels[n] = label[parts[side], :, z] > 0
    dropped = {"little brain": int((~large).sum()), "small tumour": int((large & small_tumour).sum())}
    return CaseSlices(images, labels, [{"z": z, "side": SIDES[side]} for z, side in chosen], dropped)
