"""Slices with and without a lesion, for training from image-level labels.

Source: Andermatt et al. 2018, section 2.5. Axial slices 60 to 100 of 1 mm. Presence: more than 20 pixels of tumour (all
labels merged). Absence: no tumour. The rest is dropped. Without a mask, image-level labels tell the domain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices, slices_between
from transeg.errors import ConfigError
from transeg.transforms.preprocessing import Scan, check_recipe, load_scan


class ImageLevelSlices:
    """Cuts a scan into slices with intensities in [-1, 1].

    Args:
        recipe: see `transeg.transforms.preprocessing`, and "first", "last": heights of the lowest and highest slice in
            mm above the bottom slice of the volume, default all; "min_lesion": area in mm^2 that a lesion must exceed.

    Raises:
        ConfigError: `first` is above `last`.
        DataError: a recipe that cannot be used.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        check_recipe(recipe)
        self.recipe, self.min_lesion = recipe, recipe.get("min_lesion", 20.0)
        self.first, self.last = recipe.get("first", 0.0), recipe.get("last")
        if self.last is not None and self.last < self.first:
            raise ConfigError(f"no slices from {self.first:g} to {self.last:g} mm: first must not exceed last")

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and cut {"image": files}; "mask", "label" and "presence" are optional.

        Returns:
            Slices (N, C, X, Y) with "z", their index in the preprocessed volume. Those that neither a label nor an
            image-level label describes count as absence.

        Raises:
            VolumeError: a file cannot be used.
        """
        return self._chosen(load_scan(self.recipe, item))

    def _chosen(self, scan: Scan) -> CaseSlices:
        *pixel, thickness = scan.spacing
        inside = np.zeros(scan.image.shape[-1], bool)
        inside[slices_between(len(inside), thickness, self.first, self.last)] = True
        shown = inside & scan.foreground.any(axis=(0, 1))
        lesion = np.zeros_like(scan.foreground) if scan.label is None else scan.label > 0
        small = shown & lesion.any(axis=(0, 1)) & ~self._large(np.moveaxis(lesion, -1, 0), math.prod(pixel))
        chosen = np.flatnonzero(shown & ~small).tolist()
        images, labels = (np.moveaxis(volume[..., chosen], -1, 0) for volume in (scan.image, lesion))
        dropped = {"out of range": ~inside, "no foreground": inside & ~shown, "small lesion": small}
        return CaseSlices(
            images.astype(np.float16),
            None if scan.label is None else labels.astype(np.uint8),
            [{"z": z} for z in chosen],
            {reason: int(which.sum()) for reason, which in dropped.items()},
            scan.present_in(chosen),
            scan.features,
        )

    def _large(self, lesion: np.ndarray, pixel: float | None = None) -> np.ndarray:
        if pixel is None:  # of the recipe's grid
            pixdim = self.recipe["pixdim"]
            pixel = pixdim[0] * pixdim[1] if isinstance(pixdim, Sequence) else pixdim**2
        # plus a millionth, so that rounding of the affine does not decide whether an area just exceeds the limit
        return lesion.sum(axis=(1, 2)) * pixel > self.min_lesion * (1 + 1e-6)

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled slices to a domain by their predictions.

        Args:
            images: (N, C, X, Y) as cut.
            probability: lesion probability (N, X, Y).

        Returns:
            bool (N,) twice: presence, if the predicted lesion is large enough; absence, if no pixel exceeds 0.1. A
            slice may be in neither domain.
        """
        return self._large(probability > 0.5), probability.max(axis=(1, 2)) < 0.1
