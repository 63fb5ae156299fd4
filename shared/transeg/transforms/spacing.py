"""Resampling of volumes in items that hold other values too."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import Spacingd


class ResampleVolumed(Spacingd):
    """`Spacingd` restricted to its own keys.

    MONAI's takes any other key that starts with one of its own for a metadata dictionary and fails if it is not, such
    as "image_path" of MONAI Label.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Resample volumes (C, X, Y, Z)."""
        own = {key: data[key] for key in self.key_iterator(data)}
        return {**data, **super().__call__(own, lazy)}
