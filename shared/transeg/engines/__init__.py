"""The alternating trainer, its players and its handlers."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
