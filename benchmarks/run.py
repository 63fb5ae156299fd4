"""Runs of bundles with MONAI's command line, and the released weights."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transeg.bundle.runs import WEIGHTS
from transeg.data.training_cases import FILE, add_cases, read_cases
from transeg.demo.steps import bundle_arguments, run_dir_arguments


def run_bundle(run: str, configs: Path, files: Sequence[str], *arguments: object, log: Path | None = None) -> None:
    """`python -m monai.bundle run RUN` with files of a bundle's or a run folder's configs.

    With a log file, on one thread and with output to it.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    command = [sys.executable, *bundle_arguments(run, [configs / file for file in files], *arguments)]
    if log is None:
        subprocess.run(command, check=True)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    with log.open("a") as file:
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT, env=environment)


def train(configs: Path, files: Sequence[str], run_dir: Path, *arguments: object, log: Path | None = None) -> None:
    """`run_bundle` for a training run into a run folder; an interrupted one is resumed."""
    run_bundle("training", configs, files, *run_dir_arguments(run_dir), *arguments, log=log)


def log_of(run_dir: Path) -> Path:
    """The output of a run's commands; a new run folder may hold nothing but logs."""
    return run_dir / "logs" / "output.txt"


def install_weights(run_dir: Path, bundle: Path) -> None:
    """Copy the weights of a run folder into a bundle, in half precision."""
    state = torch.load(run_dir / WEIGHTS, map_location="cpu", weights_only=True)
    half = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    (bundle / WEIGHTS).parent.mkdir(exist_ok=True)
    torch.save(half, bundle / WEIGHTS)
    (bundle / FILE).unlink(missing_ok=True)  # of the weights before
    add_cases(bundle, read_cases(run_dir))
