"""Named MONAI transforms: loading with checks, preprocessing of a data set, augmentation, saving."""

from transeg.transforms.brain import NormaliseBraind, brain_mask, brain_preprocessing
from transeg.transforms.centre import CentreForegroundd, CropAtCentred
from transeg.transforms.classical import SegmentGraphCutd, SegmentMixtured, scan_legs
from transeg.transforms.heart import HEART_CLASSES, HeartCentred, find_heart, heart_preprocessing
from transeg.transforms.intensity import (
    RestoreIntensityd,
    ScaleRanged,
    SignedRanged,
    WindowRanged,
    foreground_mask,
)
from transeg.transforms.load import LoadVolumed, VolumeError
from transeg.transforms.modality import ScaleModalityd, one_modality, tell_modality
from transeg.transforms.outputs import SaveVolumed, Translated, translation_output
from transeg.transforms.reports import (
    MeasureLegsd,
    MissingRegionsd,
    MuscleCompartmentd,
    RegionChangeReportd,
    TrustReportd,
)
from transeg.transforms.slices import LoadSliced
from transeg.transforms.synthesis import Implanted, Synthesised, synthesis_output
from transeg.transforms.thigh import body_mask, thigh_preprocessing

__all__ = [
    "HEART_CLASSES",
    "CentreForegroundd",
    "CropAtCentred",
    "HeartCentred",
    "Implanted",
    "LoadSliced",
    "LoadVolumed",
    "MeasureLegsd",
    "MissingRegionsd",
    "MuscleCompartmentd",
    "NormaliseBraind",
    "RegionChangeReportd",
    "RestoreIntensityd",
    "SaveVolumed",
    "ScaleModalityd",
    "ScaleRanged",
    "SegmentGraphCutd",
    "SegmentMixtured",
    "SignedRanged",
    "Synthesised",
    "Translated",
    "TrustReportd",
    "VolumeError",
    "WindowRanged",
    "body_mask",
    "brain_mask",
    "brain_preprocessing",
    "find_heart",
    "foreground_mask",
    "heart_preprocessing",
    "one_modality",
    "scan_legs",
    "synthesis_output",
    "tell_modality",
    "thigh_preprocessing",
    "translation_output",
]
