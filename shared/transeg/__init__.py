"""TranSeg: segment medical images with few labels or none by translating between two domains."""

__version__ = "0.1.0"
