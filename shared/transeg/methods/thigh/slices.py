"""Thigh MR volumes to axial slices with fatty infiltration (hard) and without (easy).

Source: Gadermayr et al. 2021, section 2.3: the domain is told by the grade of a scan. Where there is none, by the fat
in the mask of the muscle, and without a mask by what the present translation removes.
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
    """Cuts one scan into slices.

    Args:
        pixdim: voxel size in the slice in mm (paper: 1).
        size: (X, Y) of a slice in voxels (paper: 256 x 256).
        min_body: share of a slice that the body must exceed.
        hard: a scan is hard if more than this share of its muscle is nearer to fat than to muscle, or if the
            translation darkens more than this share of the body.
        easy: a scan without a mask is easy below this share; in between it is neither.
    """

    def __init__(
        self,
        pixdim: float = 2.0,
        size: Sequence[int] = (192, 96),
        min_body: float = 0.05,
        hard: float = 0.15,
        easy: float = 0.03,
    ) -> None:
        self.pixdim, self.size, self.min_body, self.hard, self.easy = pixdim, tuple(size), min_body, hard, easy

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and cut {"image": file}, with "label", the mask of all muscle, if there is one.

        Raises:
            VolumeError: a file cannot be used.
        """
        label_keys = ("label",) if "label" in item else ()
        preprocess = thigh_preprocessing(("image",), label_keys, pixdim=self.pixdim, size=self.size)
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
        """Domain of slices without a mask.

        Args:
            images: (N, 1, X, Y) as cut.
            probability: (N, X, Y), how much the translation darkens, see `darkening_map`.

        Returns:
            Which of them (N,) are hard, and which easy: those of one scan together.
        """
        share = (probability > 0.5).sum() / max((images > -0.8).sum(), 1)
        every = np.ones(len(images), bool)
        return every & (share > self.hard), every & (share < self.easy)

    def _infiltrated(self, image: np.ndarray, muscle: np.ndarray) -> bool:
        return muscle.any() and bool((fit_mixture(image).normalise(image)[muscle] > 0.5).mean() > self.hard)


def darkening_map(image: torch.Tensor, translation: torch.Tensor) -> torch.Tensor:
    """How much a translation is darker, from 0 to 1 at half of the range [-1, 1]; any shape."""
    return (image - translation).clamp(0, 1)
