"""TranSeg: segment medical images with few labels or none by translating between two domains."""

from transeg.lazy import submodules

__version__ = "0.1.0"
__getattr__ = submodules(__name__)
