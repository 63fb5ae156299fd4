"""Hard-to-easy translation of thigh MR and classical muscle segmentation (Gadermayr et al. 2021)."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
