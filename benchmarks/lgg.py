"""TCGA-LGG for the benchmarks: its preparation, and its scans and masks as published."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from transeg.transforms.load import LoadVolumed
from transeg.transforms.preprocessing import label_loading

from benchmarks.results import ROOT

GENSEG = ROOT / "bundles" / "brain_mri_genseg_segmentation"
PATHOGAN = ROOT / "bundles" / "brain_mri_pathogan_segmentation"
DATA = "TCGA-LGG, patients with three sequences, 128 x 128"
GRID = ("--size", "128,128", "--spacing", 1.88, 1.88, 6)  # slices of 256 pixels of about 0.94 mm, halved
FLAIR = 1
Scans = list[dict[str, Any]]

# options of the benchmarks
Slices = Annotated[Path, typer.Argument(help="Folder of the patients.")]
Work = Annotated[Path, typer.Argument(help="Folder for prepared data, runs and masks.")]
Validation = Annotated[int, typer.Option(help="Validation patients.")]
Test = Annotated[int, typer.Option(help="Test patients.")]
Name = Annotated[str, typer.Option(help="Name of the result.")]
Settings = Annotated[list[str] | None, typer.Option(help="Setting of the training configs: KEY=VALUE.")]


def settings_of(option: Settings) -> dict[str, str]:
    """Settings by key."""
    return dict(text.split("=", 1) for text in option or ())


def prepare(slices: Path, out: Path, bundle: Path, validation: int, test: int, *options: object) -> Path:
    """Prepare the patients for a bundle unless that is done; the same split for every bundle."""
    if not (out / "datalist.json").is_file():
        split = ("--validation", validation, "--test", test, "--workers", os.cpu_count() or 1)
        options = ("--bundle", bundle.name, *GRID, *split, *options)
        command = ["-m", "data_prep.lgg", "--data", slices, "--out", out, *options]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return out


def read_reference(item: Mapping[str, Any]) -> np.ndarray:
    """Mask of a patient as published, on the grid of the scan."""
    loaded = label_loading({"labels": ["background", "tumour"]}, "label", like="image")(dict(item))
    return np.asarray(loaded["label"][0]) > 0


def read_scan(item: Mapping[str, Any]) -> np.ndarray:
    """The sequences of a patient (C, X, Y, Z)."""
    keys = [f"image_{k}" for k in range(len(item["image"]))]
    files: dict[Hashable, Any] = {**dict(zip(keys, item["image"], strict=True)), "spacing": item.get("spacing")}
    loaded = LoadVolumed(keys)(files)
    return np.concatenate([np.asarray(loaded[key]) for key in keys])


def read_flair(item: Mapping[str, Any]) -> np.ndarray:
    """FLAIR of a patient, divided by its 99.5 percentile."""
    image = read_scan({**item, "image": item["image"][FLAIR : FLAIR + 1]})[0]
    return image / np.percentile(image, 99.5)
