"""GenSeg: presence/absence translation, semi-supervised segmentation (Vorontsov et al.)."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
