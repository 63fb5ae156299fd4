"""Axial slices of thigh MR volumes with fatty infiltration (hard domain) and without (easy domain).

Source: Gadermayr et al. 2021, section 2.3: the grade of a scan determines its domain. Without a grade, the fat inside
the muscle mask does; without a mask, what the current translation removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from transeg.data.slices import CaseSlices
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.methods.thigh.preprocessing import body_mask, thigh_preprocessing


class ThighSlices:
    """Extracts the axial slices of a scan.

    Args:
        pixdim: in-plane voxel size in mm (paper: 1).
        size: (X, Y) of a slice in voxels (paper: 256 x 256).
        min_body: minimum body fraction of a slice, exclusive.
        upper: percentile of the intensities that becomes 1, see `thigh_preprocessing`.
        hard: a scan is hard if more than this fraction of its muscle is closer in intensity to fat than to muscle, or
            if the translation darkens more than this fraction of the body.
        easy: a scan without a mask is easy if the translation darkens less than this fraction; in between it belongs
            to neither domain.
    """

    def __init__(
        self,
        pixdim: float = 2.0,
        size: Sequence[int] = (192, 96),
        min_body: float = 0.05,
        upper: float = 99.5,
        hard: float = 0.15,
        easy: float = 0.03,
    ) -> None:
        self.pixdim, self.size, self.min_body, self.upper = pixdim, tuple(size), min_body, upper
        self.hard, self.easy = hard, easy

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load and preprocess {"image": file}, optionally with "label" (the mask of all muscle), and return its slices.

        Raises:
            VolumeError: a file cannot be used.
        """
        label_keys = ("label",) if "label" in item else ()
        preprocess = thigh_preprocessing(("image",), label_keys, self.pixdim, self.size, self.upper)
        volumes = preprocess({key: item[key] for key in ("image", *label_keys)})
        image = volumes["image"]
        large = body_mask(image)[0].numpy().mean(axis=(0, 1)) > self.min_body
        chosen = np.flatnonzero(large).tolist()
        images, *labels = (np.moveaxis(volumes[key].numpy()[..., chosen], -1, 0) for key in ("image", *label_keys))
        return CaseSlices(
            images.astype(np.float16),
            labels[0][:, 0].astype(np.uint8) if labels else None,
            [{"z": z} for z in chosen],
            {"little body": int((~large).sum())},
            present=bool(labels) and self._infiltrated(image[0].numpy(), volumes["label"][0].numpy() > 0),
        )

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Domain of the slices of a scan without a mask.

        Args:
            images: (N, 1, X, Y) as extracted.
            probability: (N, X, Y), how much the translation darkens, see `darkening_map`.

        Returns:
            Hard (N,) and easy (N,), bool; all slices of a scan get the same domain.
        """
        darkened = (probability > 0.5).sum() / max((images > -0.8).sum(), 1)
        return np.full(len(images), darkened > self.hard), np.full(len(images), darkened < self.easy)

    def _infiltrated(self, image: np.ndarray, muscle: np.ndarray) -> bool:
        return bool(muscle.any()) and bool((fit_mixture(image).normalise(image)[muscle] > 0.5).mean() > self.hard)


def darkening_map(image: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """How much darker a translation is than the image, clipped to [0, 1], half of the range [-1, 1]; any shape."""
    return (image - translation).clamp(0, 1)
