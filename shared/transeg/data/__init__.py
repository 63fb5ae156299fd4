"""Datalists and stacks of slices, two-domain datasets and samplers, whole volumes and studies."""

from transeg.data.brain_slices import BrainSlices
from transeg.data.brain_volumes import BrainVolumes
from transeg.data.datalist import DatalistError, read_datalist, write_datalist, write_stack
from transeg.data.datasets import SliceDataset, UnpairedDataset
from transeg.data.half_slices import BrainHalfSlices, half_slices
from transeg.data.heart_volumes import HeartVolumes
from transeg.data.modalities import TwoModalityDataset, TwoModalityStudies
from transeg.data.samplers import UnpairedBatchSampler
from transeg.data.slices import CaseSlices, write_slices
from transeg.data.studies import StudySlices
from transeg.data.thigh_slices import ThighSlices, darkened

__all__ = [
    "BrainHalfSlices",
    "BrainSlices",
    "BrainVolumes",
    "CaseSlices",
    "DatalistError",
    "HeartVolumes",
    "SliceDataset",
    "StudySlices",
    "ThighSlices",
    "TwoModalityDataset",
    "TwoModalityStudies",
    "UnpairedBatchSampler",
    "UnpairedDataset",
    "darkened",
    "half_slices",
    "read_datalist",
    "write_datalist",
    "write_slices",
    "write_stack",
]
