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
from transeg.errors import VolumeError
from transeg.files import file_name
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.metrics.silhouette import silhouette
from transeg.transforms.preprocessing import Scan, check_recipe, load_scan

DOMAINS = ("hard", "easy")


class ThighSlices:
    """Extracts the slices of a scan.

    Args:
        recipe: see `transeg.transforms.preprocessing`, and "min_foreground": share of a slice that the body must
            exceed.
        hard: a scan is hard if more than this fraction of its muscle is closer in intensity to fat than to muscle, or
            if the translation darkens more than this fraction of the body.
        easy: a scan without a mask is easy if the translation darkens less than this fraction; in between it belongs
            to neither domain.

    Raises:
        DataError: a recipe that cannot be used.
    """

    def __init__(self, recipe: Mapping[str, Any], hard: float = 0.15, easy: float = 0.03) -> None:
        check_recipe(recipe)
        self.recipe, self.min_foreground = recipe, recipe.get("min_foreground", 0.05)
        self.hard, self.easy = hard, easy

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load and preprocess {"image": files}, and return its slices.

        The domain is the item's "domain" ("hard" or "easy"), else its "presence" (of infiltration); else its "label"
        (the mask of all muscle) tells.

        Raises:
            VolumeError: a file cannot be used, or a domain of another name.
        """
        scan = load_scan(self.recipe, item)
        large = silhouette(scan.image[0]).mean(axis=(0, 1)) > self.min_foreground
        chosen = np.flatnonzero(large).tolist()
        return CaseSlices(
            np.moveaxis(scan.image[..., chosen], -1, 0).astype(np.float16),
            None if scan.label is None else np.moveaxis(scan.label[..., chosen], -1, 0),
            [{"z": z} for z in chosen],
            {"little body": int((~large).sum())},
            self._present(item, scan, chosen),
            scan.features,
        )

    def _present(self, item: Mapping[str, Any], scan: Scan, slices: Sequence[int]) -> np.ndarray | bool:
        domain = item.get("domain")
        if domain is not None:
            if domain not in DOMAINS:
                raise VolumeError(f"{file_name(item['image'])}: its domain is {domain!r}; expected hard or easy")
            return domain == "hard"
        if scan.present is not None:
            return scan.present[list(slices)]
        return scan.label is not None and self._infiltrated(scan.image[0], scan.label > 0)

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
