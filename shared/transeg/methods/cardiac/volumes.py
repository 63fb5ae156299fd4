"""Volumes around the heart from cardiac CT and MR, one per scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transeg.data.slices import CaseSlices
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing


class CardiacVolumes:
    """Crops scans; the result is a stack whose only entry is a volume.

    Args:
        modality: "ct", "mr" or "auto", see `cardiac_preprocessing`.
        pixdim: voxel size in mm (paper: 1.5).
        size: (X, Y, Z) in voxels (paper: 112 x 112 x 86).
    """

    def __init__(self, modality: str = "auto", pixdim: float = 1.5, size: Sequence[int] = (112, 112, 86)) -> None:
        options: dict[str, Any] = {"modality": modality, "pixdim": pixdim, "size": tuple(size)}
        self.labelled = cardiac_preprocessing(label_keys="label", centre="label", **options)
        self.unlabelled = cardiac_preprocessing(**options)

    def __call__(self, item: Mapping[str, Any]) -> CaseSlices:
        """Load, preprocess and crop {"image": file}, optionally with "label", which is then the centre of the crop.

        Returns:
            Images (1, 1, X, Y, Z) in [-1, 1], labels (1, X, Y, Z) with the classes of `HEART_CLASSES`, and "modality".

        Raises:
            VolumeError: a file cannot be used.
        """
        has_label = "label" in item
        volumes = (self.labelled if has_label else self.unlabelled)(dict(item))
        return CaseSlices(
            volumes["image"].numpy()[None].astype(np.float16),
            volumes["label"].numpy().astype(np.uint8) if has_label else None,
            [{"modality": volumes["image"].meta["modality"]}],
            {},
            present=True,
        )
