"""Named MONAI transforms: loading with checks, preprocessing of a data set, augmentation, saving."""

from transeg.transforms.brain import (
    CentreBraind,
    NormaliseBraind,
    RestoreIntensityd,
    brain_mask,
    brain_preprocessing,
)
from transeg.transforms.load import LoadVolumed, VolumeError

__all__ = [
    "CentreBraind",
    "LoadVolumed",
    "NormaliseBraind",
    "RestoreIntensityd",
    "VolumeError",
    "brain_mask",
    "brain_preprocessing",
]
