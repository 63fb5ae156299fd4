"""Real scans: training on three patients of BRATS 2013 (FLAIR, T1c), one of them labelled, test on the fourth.

    python -m data_prep.brats --data BRATS --out DATA --channels flair,t1c --pattern flair='Flair*' \
        --pattern t1c='T1c*' --pattern label='OTMulti*' --pattern mask='brainmask*' --validation 0 --min-brain 0.02 \
        --test-cases brats_2013_pat0004_1 --labelled-cases brats_2013_pat0005_1
    python -m benchmarks.brain_real --data DATA --out WORK
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from transeg.data.datalist import read_datalist
from transeg.demo.steps import read_scores
from transeg.demo.tumours import draw
from transeg.methods.genseg.demo import NAME, threshold_dice

from benchmarks.results import ROOT, write_result
from benchmarks.run import run_bundle, train

CONFIGS = ROOT / "bundles" / NAME / "configs"
OVERLAYS = {"segmentation only": ["baselines/segmentation_only.json"], "GenSeg": []}


def main(
    data: Annotated[Path, typer.Option(help="Prepared data.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, scores and masks.")],
    epochs: Annotated[int, typer.Option(help="Epochs of 50 updates.")] = 40,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Train the proposed method and segmentation only, score both on the fourth patient and save an image of it."""
    dices = {"threshold on FLAIR": threshold_dice(data)[0]}
    for name, overlays in OVERLAYS.items():
        run_dir = out / name.replace(" ", "_")
        length = ["--epochs", epochs, "--batches_per_epoch", 50, "--seed", seed]
        files = ["train.json", "no_validation.json", *overlays, "averaged.json"]
        train(CONFIGS, files, run_dir, "--dataset_dir", data, *length)
        configs, test = run_dir / "configs", run_dir / "test"
        whole = ["--dataset_dir", data, "--output_dir", test]
        run_bundle("evaluating", configs, ["inference.json", "evaluate.json"], *whole)
        dices[name] = read_scores(test / "val_mean_dice_raw.csv")[0]
    saved = ["--save_probability", True, "--save_translation", True]
    run_bundle("inferring", configs, ["inference.json"], *whole, *saved)  # of GenSeg, the last one
    items = read_datalist(data / "datalist.json", "test_volumes")
    Image.fromarray(draw(items, test)).save(out / "brain_real.png")
    docs = CONFIGS.parent / "docs"
    shutil.copy(out / "brain_real.png", docs / "brain_real.png")
    prepared = json.loads((data / "datalist.json").read_text())["preparation"]
    note = f"FLAIR and T1c, one labelled patient of three, {50 * epochs:,} updates, seed {seed}."
    figures = {"dice": dices, "patient": items[0]["case"], "note": note, "preparation": prepared}
    print(write_result("brain_real", "BRATS 2013, 4 patients", [seed], figures))


if __name__ == "__main__":
    typer.run(main)
