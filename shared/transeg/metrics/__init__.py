"""Overlap, surface distance, false alarms, plausibility of a translation."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
