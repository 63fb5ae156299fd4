"""Whole volumes with and without a lesion, for PathoGAN in three dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.errors import ConfigError
from transeg.transforms.preprocessing import load_scan


class ImageLevelVolumes:
    """Loads a scan as a stack of one volume with intensities in [-1, 1].

    Args:
        recipe: see `transeg.transforms.preprocessing`, with an "image_size" of three numbers, and "min_lesion": volume
            in mm^3 that a lesion must exceed.

    Raises:
        ConfigError: an image size of other than three numbers.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        size = tuple(recipe["image_size"])
        if len(size) != 3:
            raise ConfigError(f"size {size}: full volumes need three numbers, X, Y and Z")
        self.recipe, self.min_lesion = recipe, recipe.get("min_lesion", 1000.0)

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load and preprocess {"image": files}; "mask", "label" and "presence" are optional.

        Returns:
            Images (N, C, X, Y, Z) and labels (N, X, Y, Z); N is 1, or 0 if the lesion is too small. A volume that
            neither a label nor an image-level label describes counts as absence.

        Raises:
            VolumeError: a file cannot be used.
        """
        scan = load_scan(self.recipe, item)
        lesion = np.zeros_like(scan.foreground) if scan.label is None else scan.label > 0
        small = bool(lesion.any()) and not self._large(lesion[None])[0]
        count = 0 if small else 1
        fields: list[dict[str, Any]] = [{}] * count
        images, labels = scan.image[None][:count].astype(np.float16), lesion[None][:count].astype(np.uint8)
        if scan.label is not None:
            return CaseSlices(images, labels, fields, {"small lesion": int(small)}, features=scan.features)
        present = scan.present is not None and bool(scan.present.any())
        return CaseSlices(images, None, fields, {}, present, scan.features)

    def _large(self, lesion: np.ndarray) -> np.ndarray:
        return lesion.sum(axis=(1, 2, 3)) * self.recipe["pixdim"] ** 3 > self.min_lesion

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled volumes to a domain by their predictions; see `ImageLevelSlices.assign_domain`."""
        return self._large(probability > 0.5), probability.max(axis=(1, 2, 3)) < 0.1
