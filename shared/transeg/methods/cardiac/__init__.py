"""Cycle- and shape-consistent translation of cardiac CT and MR (Zhang et al. 2018)."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
