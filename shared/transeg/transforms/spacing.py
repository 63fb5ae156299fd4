"""Resampling of volumes in items that hold more than volumes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.transforms import Spacingd


class ResampleVolumed(Spacingd):
    """`Spacingd` that sees its own keys alone.

    MONAI's takes every other key that begins like one of its own for a dictionary of meta data, and fails where it is
    none, as "image_path" of MONAI Label.
    """

    def __call__(self, data: Mapping[str, Any], lazy: bool | None = None) -> dict[str, Any]:
        """Resample the volumes (C, X, Y, Z)."""
        own = {key: data[key] for key in self.key_iterator(data)}
        return {**data, **super().__call__(own, lazy)}
