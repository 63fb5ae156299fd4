"""TranSeg: segment medical images with few labels or none by translating between two domains."""

import os

from transeg.lazy import submodules

__version__ = "0.2.0"
__getattr__ = submodules(__name__)

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MONAI imports it where it is installed
