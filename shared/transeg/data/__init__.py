"""Datalists and stacks of slices, two-domain datasets and samplers, whole volumes."""

from transeg.data.datalist import DatalistError, read_datalist, write_datalist, write_stack
from transeg.data.datasets import UnpairedDataset
from transeg.data.samplers import UnpairedBatchSampler, own_share

__all__ = [
    "DatalistError",
    "UnpairedBatchSampler",
    "UnpairedDataset",
    "own_share",
    "read_datalist",
    "write_datalist",
    "write_stack",
]
