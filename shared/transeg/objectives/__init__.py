"""Parts shared by the objectives of several methods."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
