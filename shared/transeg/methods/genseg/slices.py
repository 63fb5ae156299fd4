"""Slices, or halves of slices, with and without a lesion.

Source: Vorontsov et al., section 4.4. Axial slices are cut at mid-width into two half-slices. Presence: more than 25 %
of the area is brain and more than 1 % of the brain is tumour (all labels merged). Absence: as much brain, no tumour.
The rest is dropped. Without a mask, image-level labels tell the domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.errors import ConfigError, DataError
from transeg.methods.genseg import WITHOUT_MASKS
from transeg.transforms.preprocessing import Scan, check_recipe, load_scan

SIDES = ("left", "right")  # X runs from left to right


class LesionSlices:
    """Cuts a scan into slices.

    Args:
        recipe: see `transeg.transforms.preprocessing`, and "halves": cut slices at mid-width; "min_foreground": share
            of a slice that the foreground must exceed; "min_lesion": share of the foreground that a lesion must exceed.

    Raises:
        ConfigError: halves of an odd width.
        DataError: a recipe that cannot be used.
    """

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        check_recipe(recipe)
        size = tuple(recipe["image_size"])
        self.recipe, self.halves = recipe, bool(recipe.get("halves"))
        self.min_foreground, self.min_lesion = recipe.get("min_foreground", 0.02), recipe.get("min_lesion", 0.01)
        if self.halves and (min(size) < 2 or size[0] % 2):
            raise ConfigError(f"size {size}: the width must be even, as slices are cut into halves")

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and cut {"image": files}; "mask", "label" and "presence" are optional.

        Raises:
            VolumeError: a file cannot be used.
        """
        scan = load_scan(self.recipe, item, clip=False)
        return cut_slices(scan, self.halves, self.min_foreground, self.min_lesion)

    def assign_domain(self, images: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Assign unlabelled slices to a domain by their predictions.

        Args:
            images: (N, C, X, Y) as cut.
            probability: lesion probability (N, X, Y).

        Returns:
            bool (N,) twice: presence, if the predicted lesion is large enough; absence, if no pixel exceeds 0.1. A
            slice may be in neither domain.
        """
        foreground = (images != 0).any(axis=1).sum(axis=(1, 2))
        lesion = (probability > 0.5).sum(axis=(1, 2))
        return lesion > self.min_lesion * foreground, probability.max(axis=(1, 2)) < 0.1


def cut_slices(scan: Scan, halves: bool = False, min_foreground: float = 0.02, min_lesion: float = 0.01) -> CaseSlices:
    """Cut a preprocessed scan and keep the slices that belong to a domain.

    Args:
        scan: image (C, X, Y, Z), with halves centred on the foreground.
        halves: cut slices at mid-width, left before right.
        min_foreground: share of a slice that the foreground must exceed.
        min_lesion: share of the foreground that a lesion must exceed.

    Returns:
        Slices (N, C, X, Y) or (N, C, X / 2, Y), with "z" (index in the preprocessed volume) and, for halves, "side".
        A slice that neither a label nor an image-level label describes counts as absence.
    """
    channels, width, height, _ = scan.image.shape
    width = width // 2 if halves else width
    parts = [slice(0, width), slice(width, 2 * width)] if halves else [slice(0, width)]
    lesion_volume = np.zeros_like(scan.foreground) if scan.label is None else scan.label
    foreground, lesion = (
        np.stack([np.count_nonzero(volume[part], axis=(0, 1)) for part in parts], axis=1)
        for volume in (scan.foreground, lesion_volume)
    )  # (Z, parts) pixels
    large = foreground > min_foreground * width * height
    small_lesion = (lesion > 0) & (lesion <= min_lesion * foreground)
    chosen = np.argwhere(large & ~small_lesion).tolist()
    images = np.empty((len(chosen), channels, width, height), np.float16)
    labels = np.empty((len(chosen), width, height), np.uint8)
    for n, (z, part) in enumerate(chosen):
        images[n] = scan.image[:, parts[part], :, z]
        labels[n] = lesion_volume[parts[part], :, z] > 0
    dropped = {"little foreground": int((~large).sum()), "small lesion": int((large & small_lesion).sum())}
    fields = [{"z": z, "side": SIDES[part]} if halves else {"z": z} for z, part in chosen]
    labelled = None if scan.label is None else labels
    return CaseSlices(images, labelled, fields, dropped, scan.present_in([z for z, _ in chosen]), scan.features)


def with_masks(items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The presence slices of a training run, unless there are some and none has a mask.

    Raises:
        DataError: none has.
    """
    if items and not any("label" in item for item in items):
        raise DataError(f"no labelled volume: none of {len(items)} slices with the lesion has a mask. {WITHOUT_MASKS}")
    return items
