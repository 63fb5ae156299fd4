"""Overlap, surface distance, false alarms and plausibility of translations."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
