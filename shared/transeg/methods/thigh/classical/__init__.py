"""Segmentation without a network: mixture, graph cut, shape prior; NumPy arrays in and out."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
