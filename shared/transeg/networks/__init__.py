"""Networks and building blocks in two and three dimensions."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
