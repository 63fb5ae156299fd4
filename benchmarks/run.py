"""Runs of bundles with MONAI's command line, and the released weights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transeg.demo.steps import bundle_arguments


def run_bundle(run: str, files: Sequence[Path], *arguments: object, log: Path | None = None) -> None:
    """`python -m monai.bundle run RUN` with a list of configs; with a log file, on one thread and with output to it.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    command = [sys.executable, *bundle_arguments(run, files, *arguments)]
    if log is None:
        subprocess.run(command, check=True)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("a") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, env=environment)


def install_weights(path: Path, bundle: Path) -> None:
    """Copy a state dict into a bundle, in half precision."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    (bundle / "models").mkdir(exist_ok=True)
    torch.save(half, bundle / "models" / "model.pt")
