"""PathoGAN: segmentation from image-level labels (Andermatt et al. 2018)."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
