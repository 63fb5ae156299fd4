"""Weights of both brain bundles from TCGA-LGG: GenSeg from all masks of the training patients, PathoGAN from none.

They train side by side and for the same time, and the last weights, which are moving averages, are kept: no patient
chooses anything. Scored are the written masks of whole test patients. The run folders, without their training state and
with weights in half precision, are packed into the folder of the results.

    python -m benchmarks.lgg_weights SLICES WORK --minutes 60
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from transeg.bundle.runs import WEIGHTS
from transeg.data.datalist import read_datalist
from transeg.demo.steps import bundle_arguments, run_dir_arguments
from transeg.metrics.overlap import dice

from benchmarks.lgg_few_masks import read_reference, start, wait
from benchmarks.results import ROOT, read_mask, write_result

GENSEG, PATHOGAN = "brain_mri_genseg_segmentation", "brain_mri_pathogan_segmentation"
FILES = {GENSEG: ["averaged.json"], PATHOGAN: []}
PREPARATION = {GENSEG: ["--halves"], PATHOGAN: ["--image-level"]}
SETTINGS: dict[str, dict[str, Any]] = {
    GENSEG: {"width": 12, "batch_size": 20, "labelled_per_batch": 10, "network_def#prior": 0.02},
    PATHOGAN: {"width": 24, "trust_scans": 0},
}


def start_training(bundle: str, data: Path, run: Path, seconds: float, small: bool) -> subprocess.Popen:
    """Start a training run that ends after a time."""
    run.parent.mkdir(parents=True, exist_ok=True)
    limit = run.with_suffix(".json")
    limit.write_text(
        json.dumps(
            {"+train#handlers": [{"_target_": "benchmarks.lgg_few_masks.EndAfter", "limit_sec": round(seconds)}]}
        )
    )
    settings: dict[str, Any] = {**SETTINGS[bundle], "epochs": 10_000, "val_interval": 0, "save_last": True}
    if small:
        settings |= {"width": 2, "batch_size": 2, "labelled_per_batch": 0, "batches_per_epoch": 1}
    options = [part for key, value in settings.items() for part in (f"--{key}", value)]
    files = [ROOT / "bundles" / bundle / "configs" / name for name in ("train.json", *FILES[bundle])]
    command = bundle_arguments(
        "training", [*files, limit], *run_dir_arguments(run), "--dataset_dir", data, "--seed", 0, *options
    )
    return start(command, run.with_suffix(".log"))


def pack(run: Path, path: Path) -> Path:
    """Archive of a run folder as a bundle: configs, card, and weights in half precision."""
    state = torch.load(run / WEIGHTS, map_location="cpu", weights_only=True)
    half = run.with_suffix(".pt")
    torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, half)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(half, WEIGHTS)
        for folder in ("configs", "docs"):
            for file in sorted((run / folder).rglob("*")):
                archive.write(file, file.relative_to(run))
    return path


def main(
    slices: Annotated[Path, typer.Argument(help="Folder of the patients.")],
    work: Annotated[Path, typer.Argument(help="Folder for prepared data, runs and masks.")],
    minutes: Annotated[float, typer.Option(help="Time of the training runs.")] = 60,
    validation: Annotated[int, typer.Option(help="Validation patients, which are not used.")] = 8,
    test: Annotated[int, typer.Option(help="Test patients.")] = 16,
    small: Annotated[bool, typer.Option(help="Small networks and batches, for a test.")] = False,
    name: Annotated[str, typer.Option(help="Name of the result.")] = "lgg_weights",
) -> None:
    """Train, segment, score and pack."""
    datas, runs, outs = ({bundle: work / part / bundle for bundle in FILES} for part in ("data", "run", "masks"))
    for bundle, data in datas.items():
        if not (data / "datalist.json").is_file():
            split = ["--validation", validation, "--test", test, "--workers", os.cpu_count() or 1]
            command = ["-m", "data_prep.lgg", "--data", slices, "--out", data, "--bundle", bundle, *split]
            subprocess.run([sys.executable, *map(str, command), *PREPARATION[bundle]], check=True)
    wait({runs[b]: start_training(b, datas[b], runs[b], 60 * minutes, small) for b in FILES})
    segmenting = {}
    for bundle, out in outs.items():
        out.parent.mkdir(parents=True, exist_ok=True)
        options = ["--dataset_dir", datas[bundle], "--output_dir", out]
        config = runs[bundle] / "configs" / "inference.json"
        segmenting[out] = start(bundle_arguments("inferring", [config], *options), out.with_suffix(".log"))
    wait(segmenting)

    figures: dict[str, Any] = {"minutes": minutes, "settings": SETTINGS}
    for bundle, data in datas.items():
        items = read_datalist(data / "datalist.json", "test_volumes")
        masks = [read_mask(outs[bundle] / f"{item['case']}_seg.nii.gz") for item in items]
        found = [dice(mask, read_reference(item)) for mask, item in zip(masks, items, strict=True)]
        updates = torch.load(runs[bundle] / "train_state.pt", map_location="cpu", weights_only=True)["epoch"]
        figures[bundle] = {
            "mean": round(float(np.mean(found)), 3),
            "epochs": updates,
            "dice": np.round(found, 3).tolist(),
        }
        print(bundle, figures[bundle], flush=True)
    path = write_result(name, "TCGA-LGG, patients with three sequences, 128 x 128", [0], figures)
    print(path, *(pack(run, path.parent / f"{bundle}_lgg.zip") for bundle, run in runs.items()))


if __name__ == "__main__":
    typer.run(main)
