"""Runs of bundles through MONAI's own command line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_bundle(run: str, files: Sequence[Path], *arguments: object) -> None:
    """`python -m monai.bundle run RUN` with a list of configs.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    names = "[" + ",".join(f"'{path}'" for path in files) + "]"
    command = [sys.executable, "-m", "monai.bundle", "run", run, "--config_file", names, *map(str, arguments)]
    subprocess.run(command, check=True)
