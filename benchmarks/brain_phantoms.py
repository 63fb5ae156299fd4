"""The released weights: `transeg demo` with more patients and updates, and segmentation only on the same data.

python -m benchmarks.brain_phantoms --out WORK --install
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from transeg.bundle.package import bundle_folder
from transeg.demo.steps import read_scores
from transeg.method import Scale
from transeg.methods.genseg.demo import NAME, WIDTH, brain_demo

from benchmarks.results import ROOT, write_result
from benchmarks.run import run_bundle, train

CONFIGS = ROOT / "bundles" / NAME / "configs"


def segmentation_only(out: Path, epochs: int, seed: int) -> list[float]:
    """Dice of each test patient for the baseline, trained on the labelled slices for as many updates."""
    run_dir, data = out / "segmentation_only", ["--dataset_dir", out / "data"]
    length = ["--width", WIDTH, "--epochs", epochs, "--batches_per_epoch", 50, "--seed", seed]
    train(CONFIGS, ["train.json", "baselines/segmentation_only.json", "averaged.json"], run_dir, *data, *length)
    test = run_dir / "test"
    run_bundle("evaluating", run_dir / "configs", ["inference.json", "evaluate.json"], *data, "--output_dir", test)
    return read_scores(test / "val_mean_dice_raw.csv")


def main(
    out: Annotated[Path, typer.Option(help="Folder for data, weights and scores.")],
    cases: Annotated[int, typer.Option(help="Number of phantoms.")] = 60,
    labelled: Annotated[float, typer.Option(help="Fraction of labelled training patients.")] = 0.17,
    epochs: Annotated[int, typer.Option(help="Epochs of 50 updates.")] = 30,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    install: Annotated[bool, typer.Option(help="Copy the image into the bundle.")] = False,
) -> None:
    """Train, score, and write the result."""
    brain_demo(out, Scale(cases, epochs, seed), labelled)
    summary = json.loads((out / "demo.json").read_text())
    prepared = json.loads((out / "data" / "datalist.json").read_text())
    dices = summary["dice"]
    scores = {
        "untrained": dices["untrained"],
        "threshold on FLAIR": dices["threshold on FLAIR"],
        "segmentation only": segmentation_only(out, epochs, seed),
        "GenSeg": dices["GenSeg"],
    }
    volumes = prepared["training_volumes"]
    count = sum("label" in item for item in volumes)
    note = f"{len(volumes)} for training, {count} of them labelled; {50 * epochs:,} updates, seed {seed}."
    figures = {"dice": scores, "note": note, "minutes": summary["minutes"], "preparation": prepared["preparation"]}
    print(write_result("brain_phantoms", f"{cases} brain phantoms", [seed], figures))
    if install:
        shutil.copy(out / "demo.png", bundle_folder(NAME) / "docs" / "demo.png")


if __name__ == "__main__":
    typer.run(main)
