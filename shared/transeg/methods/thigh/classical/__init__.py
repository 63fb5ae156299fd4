"""Classical segmentation on NumPy arrays: Gaussian mixture, graph cut, shape prior, parameter search."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
