"""Cropped volumes of two domains, one per scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.methods.cardiac.domains import DOMAIN
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing
from transeg.transforms.familiarity import scan_features


class CardiacVolumes:
    """Crops scans as a recipe says; the result is a stack whose only entry is a volume.

    Args:
        recipe: see `cardiac_preprocessing`.
        modality: name of the domain of all scans, or "auto", see `ScaleDomaind`.
    """

    def __init__(self, recipe: Mapping[str, Any], modality: str = "auto") -> None:
        self.labelled = cardiac_preprocessing(recipe, label_keys="label", modality=modality, centre="label")
        self.unlabelled = cardiac_preprocessing(recipe, modality=modality)

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and crop {"image": file or files}, optionally with "label" and "domain".

        Returns:
            Images (1, C, X, Y, Z) in [-1, 1], labels (1, X, Y, Z) with the classes of the recipe, and "domain".

        Raises:
            VolumeError: a file cannot be used.
        """
        has_label = "label" in item
        volumes = (self.labelled if has_label else self.unlabelled)(dict(item))
        return CaseSlices(
            volumes["image"].numpy()[None].astype(np.float16),
            volumes["label"].numpy().astype(np.uint8) if has_label else None,
            [{DOMAIN: volumes["image"].meta[DOMAIN]}],
            {},
            present=True,
            features=scan_features(volumes["image"]),
        )
