"""What objectives of several methods are made of."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
