"""Tiles, panels and overlays."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
