"""The interpreter of an environment with MONAI Label: .venv-label, made by `.ci/label_environment`, or that which
TRANSEG_LABEL_PYTHON names.
"""

import os
from pathlib import Path

import pytest

from tests.bundle.conftest import ROOT, run_folder, run_of  # noqa: F401 (fixtures)


@pytest.fixture(scope="session")
def python():
    demanded = os.environ.get("TRANSEG_LABEL_PYTHON")
    interpreter = Path(demanded or ROOT / ".venv-label" / "bin" / "python")
    if not demanded and not interpreter.exists():
        pytest.skip("no environment with MONAI Label; .ci/label_environment makes one")
    return interpreter
