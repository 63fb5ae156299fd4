"""Common format of all results: command, data, environment and figures."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).parent / "results"


def write_result(name: str, data: str, seeds: list[int], figures: dict[str, Any]) -> Path:
    """Write `results/<name>.json`: the figures with command, commit, hardware and versions.

    The environment may name another folder, RESULTS, and the commit, COMMIT, where the code is a copy.
    """
    git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    commit = os.environ.get("COMMIT") or git.stdout.strip()
    command = " ".join(["python", "-m", _module(), *_without_folders(sys.argv[1:])])
    content = {
        "command": command,
        "commit": commit,
        "date": date.today().isoformat(),
        "data": data,
        "seeds": seeds,
        "hardware": hardware(),
        "torch": torch.__version__,
        "figures": _without_folders(figures),
    }
    path = written_to() / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
    return path


def written_to() -> Path:
    """Folder that results are written to."""
    return Path(os.environ.get("RESULTS", FOLDER))


def read_result(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """Read `results/<name>.json`."""
    return json.loads((folder / f"{name}.json").read_text())


def earlier_scores(name: str, same: Mapping[str, Any]) -> dict[str, Any]:
    """Scores of an earlier result of the name, to add to.

    Args:
        name: of the result.
        same: figures that must not differ.

    Raises:
        ValueError: they do.
    """
    figures = read_result(name, written_to())["figures"]
    before = {key: figures[key] for key in same}
    if before != same:
        raise ValueError(f"{name}: {same} cannot be added to {before}")
    return figures["scores"]


def read_mask(path: Path) -> np.ndarray:
    """A mask on disk, bool (X, Y, Z)."""
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj) > 0


def hardware() -> str:
    """GPU, or processor and number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        model = next((line.split(":")[1].strip() for line in cpuinfo.open() if line.startswith("model name")), model)
    return f"{model}, {torch.get_num_threads()} threads"


def _without_folders(value: Any) -> Any:
    """The same with only the last part of every path; the folders of this machine mean nothing elsewhere."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    if isinstance(value, str) and (Path(value).is_absolute() or value.startswith("..")):
        return Path(value).name
    return value


def _module() -> str:
    path = Path(sys.argv[0]).resolve()
    return ".".join(path.relative_to(ROOT).with_suffix("").parts) if path.is_relative_to(ROOT) else path.name
