"""MONAI transforms: loading with checks, preprocessing, output."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
