"""The card of a training run, in the headings of a bundle's own."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

import transeg

TEMPLATE = """# Model Overview
{task}. A training run of `{bundle}`, {date}.
{picture}
## Data
{data}

| recipe | |
| --- | --- |
{recipe}

## Training configuration
| | |
| --- | --- |
{training}

Every setting is in `configs/train.json`.

## Performance
{scores}

## MONAI Bundle Commands
```bash
python -m monai.bundle run inferring --config_file configs/inference.json --dataset_dir SCANS --output_dir MASKS
python -m monai.bundle run evaluating --config_file "['configs/inference.json','configs/evaluate.json']" \\
    --dataset_dir PREPARED
python -m monai.bundle run training --config_file configs/train.json --dataset_dir PREPARED --start .
```

## References
{references}

## License
{license}
"""


def run_card(
    metadata: Mapping[str, Any],
    *,
    bundle: str,
    datalist: Path,
    recipe: Mapping[str, Any],
    config: Mapping[str, Any],
    seed: int,
    epoch: int,
    iterations: int,
    seconds: float,
    device: str,
    scores: Mapping[str, float],
    recommendation: str,
    picture: str | None,
) -> str:
    """Markdown of a run: data and their hash, command, commit, seed, time, hardware, scores, picture.

    Args:
        metadata: of the run folder.
        bundle: name of the bundle that was trained.
        datalist: of the prepared data; may be missing.
        recipe: of the data.
        config: the config of the run.
        seed: of the run.
        epoch: epochs that are done.
        iterations: updates that are done.
        seconds: since the run began.
        device: that it ran on.
        scores: of the last validation.
        recommendation: which epoch to keep, and why; empty for none.
        picture: file beside the card.
    """
    training = {
        "command": f"`{shlex.join(['python', *command()])}`",
        "transeg": f"{transeg.__version__}, commit {commit()}",
        "seed": seed,
        "epochs, updates": f"{epoch}, {iterations}",
        "time": f"{seconds / 60:.1f} minutes",
        "hardware": hardware(device),
    }
    shown = f"\n![{metadata.get('task', bundle)}]({picture})\n" if picture else ""
    return TEMPLATE.format(
        task=metadata.get("task", bundle),
        bundle=bundle,
        date=f"{datetime.now():%Y-%m-%d %H:%M}",
        picture=shown,
        data=_data(datalist),
        recipe=_rows({key: value for key, value in recipe.items() if key != "familiarity"}),  # long lists of numbers
        training=_rows(training),
        scores=_rows_of_scores(scores) + (f"\n\n{recommendation}" if recommendation else ""),
        references="\n".join(f"- {text}" for text in metadata.get("references", [])),
        license="Apache License 2.0 for the software (`LICENSE`); that of the weights depends on the data.",
    )


def command() -> list[str]:
    """Arguments of this process, the module in place of its path."""
    first = Path(sys.argv[0])
    module = ["-m", "monai.bundle"] if first.parts[-3:] == ("monai", "bundle", "__main__.py") else [first.name]
    return [*module, *sys.argv[1:]]


def commit() -> str:
    """Commit of the checkout that this package lies in, or that it is installed."""
    folder = Path(transeg.__file__).parent
    done = subprocess.run(
        ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown (installed package)"


def hardware(device: str) -> str:
    """The device and what runs it."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "CPU"
    return f"{device}: {name}, {torch.get_num_threads()} threads, torch {torch.__version__}, {platform.system()}"


def _data(datalist: Path) -> str:
    if not datalist.is_file():
        return "Studies of MONAI Label; no prepared data."
    content = datalist.read_bytes()
    fields = json.loads(content)
    counts = ", ".join(f"{key} {len(value)}" for key, value in fields.items() if isinstance(value, list))
    digest = hashlib.sha256(content).hexdigest()
    named = f"{fields.get('name', 'Data')}: {fields.get('description', '')}"
    return f"{named}\n\n`{datalist.name}`, SHA-256 `{digest}`: {counts}."


def _rows(values: Mapping[str, Any]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in values.items())


def _rows_of_scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return "No validation yet."
    rows = _rows({name: f"{value:.4f}" for name, value in scores.items()})
    return f"The last validation of this run:\n\n| metric | |\n| --- | --- |\n{rows}"
