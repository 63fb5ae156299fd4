"""Submodules that are imported when they are first named, so that a package's own `__init__` stays small."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType


def submodules(package: str) -> Callable[[str], ModuleType]:
    """Make the `__getattr__` of a package: `$transeg.data.datalist.read_datalist(...)` in a config finds its module."""

    def get(name: str) -> ModuleType:
        if name.startswith("_") or find_spec(f"{package}.{name}") is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return import_module(f"{package}.{name}")

    return get
