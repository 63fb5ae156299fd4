"""Real scans: three patients of BRATS 2013 (FLAIR, T1c) for training, one of them labelled, the fourth for the test.

    python -m data_prep.brats --data BRATS --out DATA --channels flair,t1c --pattern flair='Flair*' \
        --pattern t1c='T1c*' --pattern label='OTMulti*' --pattern mask='brainmask*' --validation 0 --min-brain 0.02 \
        --test-cases brats_2013_pat0004_1 --labelled-cases brats_2013_pat0005_1
    python -m benchmarks.brain_real --data DATA --out WORK
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image
from transeg.data import read_datalist
from transeg.demo import NAME, draw, read_scores
from transeg.metrics import best_threshold, dice
from transeg.transforms import brain_preprocessing

from benchmarks.results import ROOT, write_result

CONFIGS = ROOT / "bundles" / NAME / "configs"
CHANNELS = "['FLAIR','T1c']"
ABSENCE = "$transeg.data.read_datalist(@datalist, 'training_absence')"  # for the baseline, which reads none of its own


def threshold_dice(data: Path) -> float:
    """Dice on the test patient of the threshold on FLAIR that is best on the labelled patient."""
    pairs = {}
    for key in ("training_volumes", "test_volumes"):
        items = [item for item in read_datalist(data / "datalist.json", key) if "label" in item]
        transform = brain_preprocessing("image", label_keys="label", channels=2, mask_key="mask")
        volumes = [transform(item) for item in items]
        pairs[key] = [np.asarray(v["image"][0]) for v in volumes], [np.asarray(v["label"][0]) for v in volumes]
    threshold = best_threshold(*pairs["training_volumes"])
    images, labels = pairs["test_volumes"]
    return dice(images[0] > threshold, labels[0])


def main(
    data: Annotated[Path, typer.Option(help="Prepared data.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, scores and masks.")],
    epochs: Annotated[int, typer.Option(help="Epochs of 50 updates.")] = 40,
    seed: int = 0,
) -> None:
    """Train the proposed method and segmentation only, score both on the fourth patient, draw it."""
    train, infer, evaluate = (CONFIGS / f"{name}.json" for name in ("train", "inference", "evaluate"))
    last = CONFIGS / "no_validation.json"
    average = CONFIGS / "averaged.json"
    dices = {"threshold on FLAIR": threshold_dice(data)}
    for name, overlay in (("segmentation only", CONFIGS / "baselines" / "segmentation_only.json"), ("GenSeg", None)):
        folder = out / name.replace(" ", "_")
        extra = [] if overlay is None else [overlay]
        shared = ["--dataset_dir", data, "--output_dir", folder, "--channels", CHANNELS]
        length = ["--epochs", epochs, "--batches_per_epoch", 50, "--seed", seed, "--ckpt_dir", folder]
        same = [] if overlay is None else ["--objective#segment_absence", True, "--absence", ABSENCE]
        saved = ["--train#handlers#0#network", "$@average.module"]
        files = [train, last, *extra, average]
        _bundle("training", files, *shared, *length, *same, *saved)
        whole = [*shared, "--preprocessing#mask_key", "mask", "--handlers#0#path", folder / "model.pt"]
        _bundle("evaluating", [infer, evaluate, *extra], *whole)
        dices[name] = read_scores(folder / "val_mean_dice_raw.csv")[0]
    _bundle("inferring", [infer], *whole, "--save_probability", True, "--save_translation", True)
    items = read_datalist(data / "datalist.json", "test_volumes")
    Image.fromarray(draw(items, folder)).save(out / "brain_real.png")
    docs = CONFIGS.parent / "docs"
    shutil.copy(out / "brain_real.png", docs / "brain_real.png")
    prepared = json.loads((data / "datalist.json").read_text())["preparation"]
    note = f"FLAIR and T1c, one labelled patient of three, {50 * epochs:,} updates, seed {seed}."
    figures = {"dice": dices, "patient": items[0]["case"], "note": note, "preparation": prepared}
    print(write_result("brain_real", "BRATS 2013, 4 patients", [seed], figures))


def _bundle(run: str, files: list[Path], *arguments: object) -> None:
    names = "[" + ",".join(f"'{path}'" for path in files) + "]"
    command = [sys.executable, "-m", "monai.bundle", "run", run, "--config_file", names, *map(str, arguments)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    typer.run(main)
