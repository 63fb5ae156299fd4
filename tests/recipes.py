"""Recipes like those of the bundles, for tests of what works by them."""

from __future__ import annotations

from typing import Any

from monai.transforms import Compose
from transeg.transforms.preprocessing import volume_preprocessing

BRAIN = {
    "channels": ["FLAIR", "T1c"],
    "pixdim": 2.0,
    "image_size": [72, 80],
    "labels": ["background", "tumour"],
    "label_values": {"tumour": [1, 2, 3, 4]},
}
THIGH = {
    "channels": ["T1w"],
    "pixdim": [2.0, 2.0, -1.0],
    "image_size": [192, 96],
    "foreground": "threshold",
    "normalise": "percentiles",
    "labels": ["background", "muscle"],
}


def brain_preprocessing(label_keys: Any = (), clip: bool = True, **changes: Any) -> Compose:
    """Preprocessing by a recipe of two-channel brains, with changes."""
    return volume_preprocessing(BRAIN | changes, label_keys=label_keys, clip=clip)


def thigh_preprocessing(label_keys: Any = (), **changes: Any) -> Compose:
    """Preprocessing by a recipe of thighs, with changes."""
    return volume_preprocessing(THIGH | changes, label_keys=label_keys)
