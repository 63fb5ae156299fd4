"""What the demos share: commands as a user would type them, and the scores that they leave."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from rich.console import Console
from rich.table import Table

from transeg.bundle.runs import STATE
from transeg.errors import UserError
from transeg.evaluation.rows import read_dice
from transeg.files import EVALUATION, write_text

console = Console()
BEGUN = {"LICENSE", "configs", "docs", "logs", "models"}  # what a training run makes before its first epoch


def say(text: str) -> None:
    """Head of the next step."""
    console.rule(f"[bold]{text}", align="left")


def run(*arguments: object) -> None:
    """Show and run `python ARGUMENTS`; the demo ends when it fails."""
    command = [sys.executable, *map(str, arguments)]
    console.print(" ".join(["python", *command[1:]]), style="dim", highlight=False, soft_wrap=True)
    if subprocess.run(command, check=False).returncode != 0:
        raise UserError("the command above failed")


def bundle_arguments(name: str, files: Sequence[Path], *options: object) -> list[str]:
    """What follows `python` to run NAME of a bundle with a list of configs."""
    listed = "[" + ",".join(f"'{file}'" for file in files) + "]"
    return ["-m", "monai.bundle", "run", name, "--config_file", listed, *map(str, options)]


def run_bundle(name: str, configs: Path, files: Sequence[str], *options: object) -> None:
    """`python -m monai.bundle run NAME` with files of a bundle's configs."""
    run(*bundle_arguments(name, [configs / file for file in files], *options))


def train(configs: Path, files: Sequence[str], run_dir: Path, *options: object) -> None:
    """`python -m monai.bundle run training` into a run folder; an interrupted one is resumed."""
    run_bundle("training", configs, files, *run_dir_arguments(run_dir), *options)


def run_dir_arguments(run_dir: Path) -> list[object]:
    """Options of a training run into a folder, which go on with an interrupted run there."""
    if (run_dir / STATE).is_file():
        return ["--run_dir", run_dir, "--resume", True]
    if run_dir.is_dir() and {path.name for path in run_dir.iterdir()} <= BEGUN:
        shutil.rmtree(run_dir)  # what ended before its first epoch leaves nothing to go on with
    return ["--run_dir", run_dir]


def read_scores(folder: Path) -> list[float]:
    """Dice of each patient, the mean over the structures, from the evaluation in a folder."""
    return np.nanmean([*read_dice(folder / EVALUATION[0]).values()], axis=0).tolist()


def read_ras(path: Path | str) -> np.ndarray:
    """Volume (X, Y, Z) or (X, Y, Z, C) of a NIfTI file, turned to RAS, float32."""
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj, dtype=np.float32)


def conclude(
    out: Path, dices: Mapping[str, Sequence[float]], settings: Mapping[str, Any], start: float, best: str
) -> None:
    """Show the table of Dice by patient and write it with the settings to `demo.json`.

    Args:
        out: folder of the demo, with `demo.png` and the run folder `run`.
        dices: name to Dice of each patient, in the order of the rows.
        settings: of the demo.
        start: `time.monotonic()` at its start.
        best: name of the method that is shown.
    """
    table = Table("", "mean Dice", *(f"patient {i + 1}" for i in range(len(dices[best]))))
    for name, values in dices.items():
        table.add_row(name, f"{np.mean(values):.3f}", *(f"{value:.2f}" for value in values))
    console.print(table)
    minutes = (time.monotonic() - start) / 60
    write_text(out / "demo.json", json.dumps({"dice": dices, **settings, "minutes": minutes}, indent=2) + "\n")
    console.print(f"Picture: {out / 'demo.png'}   Run folder: {out / 'run'}   ({minutes:.1f} minutes)")
