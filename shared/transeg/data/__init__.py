"""Datalists, datasets of unpaired samples, samplers, whole volumes."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
