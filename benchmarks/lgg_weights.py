"""Weights of both brain bundles from TCGA-LGG: GenSeg from all masks of the training patients, PathoGAN from none.

They train side by side and for the same time, and the last weights, which are moving averages, are kept: no patient
chooses anything. Scored are the written masks of whole test patients. The run folders, without their training state and
with weights in half precision, are packed into the folder of the results.

    python -m benchmarks.lgg_weights SLICES WORK --minutes 60
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from transeg.data.datalist import read_datalist
from transeg.metrics.overlap import dice

from benchmarks.lgg import DATA, GENSEG, PATHOGAN, Name, Slices, Test, Validation, Work, prepare, read_reference
from benchmarks.results import read_mask, write_result
from benchmarks.run import install_weights
from benchmarks.side_by_side import Training, segment, train

OVERLAYS = {GENSEG.name: ["averaged.json"], PATHOGAN.name: []}
PREPARATION = {GENSEG.name: ["--halves"], PATHOGAN.name: ["--image-level"]}
SETTINGS: dict[str, dict[str, Any]] = {
    GENSEG.name: {"width": 12, "batch_size": 20, "labelled_per_batch": 10, "network_def#prior": 0.02},
    PATHOGAN.name: {"width": 24, "trust_scans": 0},
}


def training(bundle: Path, data: Path, run: Path, small: bool) -> Training:
    """A training run that keeps its last weights."""
    settings = {**SETTINGS[bundle.name], "seed": 0, "epochs": 10_000, "val_interval": 0, "save_last": True}
    if small:
        settings |= {"width": 2, "batch_size": 2, "labelled_per_batch": 0, "batches_per_epoch": 1}
    return Training(run, bundle, data, OVERLAYS[bundle.name], settings)


def pack(run: Path, path: Path) -> Path:
    """Archive of a run folder as a bundle: configs, card, and weights in half precision."""
    folder = run.parent / f"{run.name}_packed"
    for part in ("configs", "docs"):
        shutil.copytree(run / part, folder / part, dirs_exist_ok=True)
    install_weights(run, folder)
    return Path(shutil.make_archive(str(path.with_suffix("")), "zip", folder))


def main(
    slices: Slices,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Time of the training runs.")] = 60,
    validation: Validation = 8,
    test: Test = 16,
    at_once: Annotated[int, typer.Option(help="Training runs at a time; 0: all.")] = 0,
    small: Annotated[bool, typer.Option(help="Small networks and batches, for a test.")] = False,
    name: Name = "lgg_weights",
) -> None:
    """Train, segment, score and pack."""
    bundles = (GENSEG, PATHOGAN)
    datas, runs, outs = ({b.name: work / part / b.name for b in bundles} for part in ("data", "run", "masks"))
    for bundle in bundles:
        prepare(slices, datas[bundle.name], bundle, validation, test, *PREPARATION[bundle.name])
    train([training(b, datas[b.name], runs[b.name], small) for b in bundles], minutes, at_once)
    segment({outs[b.name]: (runs[b.name], datas[b.name]) for b in bundles}, at_once)

    figures: dict[str, Any] = {"minutes": minutes, "settings": SETTINGS}
    for label, data in datas.items():
        items = read_datalist(data / "datalist.json", "test_volumes")
        masks = [read_mask(outs[label] / f"{item['case']}_seg.nii.gz") for item in items]
        found = [dice(mask, read_reference(item)) for mask, item in zip(masks, items, strict=True)]
        updates = torch.load(runs[label] / "train_state.pt", map_location="cpu", weights_only=True)["epoch"]
        figures[label] = {
            "mean": round(float(np.mean(found)), 3),
            "epochs": updates,
            "dice": np.round(found, 3).tolist(),
        }
        print(label, figures[label], flush=True)
    path = write_result(name, DATA, [0], figures)
    print(path, *(pack(run, path.parent / f"{label}_lgg.zip") for label, run in runs.items()))


if __name__ == "__main__":
    typer.run(main)
