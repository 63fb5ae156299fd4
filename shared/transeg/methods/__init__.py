"""The methods, one folder each; nothing outside a folder imports it by name."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
