"""Translation of thigh MR from a hard to an easy domain, and classical muscle segmentation (Gadermayr et al. 2021)."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
