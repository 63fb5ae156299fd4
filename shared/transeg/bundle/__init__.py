"""Tools that work on any bundle: package, verify, preflight, label."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
