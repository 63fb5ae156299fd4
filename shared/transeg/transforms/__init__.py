"""Named MONAI transforms: loading with checks, preprocessing of a data set, augmentation, saving."""

from transeg.transforms.brain import (
    CentreBraind,
    NormaliseBraind,
    RestoreIntensityd,
    brain_mask,
    brain_preprocessing,
)
from transeg.transforms.load import LoadVolumed, VolumeError
from transeg.transforms.outputs import SaveVolumed, Translated, translation_output
from transeg.transforms.slices import LoadSliced

__all__ = [
    "CentreBraind",
    "LoadSliced",
    "LoadVolumed",
    "NormaliseBraind",
    "RestoreIntensityd",
    "SaveVolumed",
    "Translated",
    "VolumeError",
    "brain_mask",
    "brain_preprocessing",
    "translation_output",
]
