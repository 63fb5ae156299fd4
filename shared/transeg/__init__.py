"""TranSeg: segment medical images with few labels or none by translating between two domains."""

from importlib import import_module
from types import ModuleType

from transeg import last_words

__version__ = "0.1.0"
_ROOMS = ("classical", "data", "engines", "losses", "metrics", "networks", "objectives", "transforms", "visual")


def __getattr__(name: str) -> ModuleType:
    """Import a subpackage when a config first names it (`$transeg.data.read_datalist(...)`)."""
    if name in _ROOMS:
        return import_module(f"transeg.{name}")
    raise AttributeError(f"module 'transeg' has no attribute '{name}'")


last_words.install()
