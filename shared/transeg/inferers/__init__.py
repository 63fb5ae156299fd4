"""Inference on whole volumes and on slices."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
