"""Runs of bundles through MONAI's own command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from transeg.demo.steps import bundle_arguments


def run_bundle(run: str, files: Sequence[Path], *arguments: object) -> None:
    """`python -m monai.bundle run RUN` with a list of configs.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    subprocess.run([sys.executable, *bundle_arguments(run, files, *arguments)], check=True)
