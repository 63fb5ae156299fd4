"""`transeg demo`: from nothing to a trained bundle, its scores and a picture, by the commands that a user runs."""

from __future__ import annotations

import csv
import json
import logging
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import torch
import typer
from monai.bundle import ConfigParser
from PIL import Image
from rich.console import Console
from rich.table import Table

from transeg.data import read_datalist
from transeg.metrics import best_threshold, dice
from transeg.networks import plain_state_dict
from transeg.release.package import bundle_folder
from transeg.transforms import brain_preprocessing
from transeg.visual import VOLUME_TITLES, panel, volume_row

NAME = "brain_mri_genseg_segmentation"
MIN_BRAIN = 0.02  # the paper's 0.25 leaves out the slices near the vertex and the base, which whole volumes contain
console = Console()


def demo(
    out: Annotated[Path, typer.Option(help="Folder for data, weights, scores and the picture.")] = Path("demo"),
    cases: Annotated[int, typer.Option(help="Phantom patients, 80 % of them for training.")] = 30,
    labelled: Annotated[float, typer.Option(help="Share of the training patients whose labels are used.")] = 0.25,
    epochs: Annotated[int, typer.Option(help="Training epochs of 50 updates.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of phantoms, split and training.")] = 0,
) -> None:
    """Make brain phantoms, train GenSeg on a few labels, evaluate it on held-out patients and draw what it sees."""
    start = time.monotonic()
    bundle = bundle_folder(NAME)
    configs = bundle / "configs"
    raw, data, models, scores = out / "raw", out / "data", out / "models", out / "scores"
    if not (data / "datalist.json").is_file():
        _say("Making phantom patients in the layout of BraTS")
        options = ["--out", raw, "--cases", cases, "--seed", seed, "--overwrite"]
        _run("-m", "data_prep.phantoms", "brain", *options)
        _say("Cutting half-slices with (P) and without (A) tumour")
        options = ["--labelled-fraction", labelled, "--seed", seed, "--min-brain", MIN_BRAIN]
        _run("-m", "data_prep.brats", "--data", raw, "--out", data, *options)
    models.mkdir(parents=True, exist_ok=True)
    torch.save(_untrained(configs, seed), models / "untrained.pt")

    _say("Training: translation between P and A, segmentation where there are labels")
    files = f"['{configs / 'train.json'}','{configs / 'averaged.json'}']"
    folders = ["--dataset_dir", data, "--ckpt_dir", models, "--output_dir", out / "training"]
    length = [
        "--epochs",
        epochs,
        "--batches_per_epoch",
        50,
        "--seed",
        seed,
        "--resume",
        True,
    ]  # an interrupted demo goes on
    _run("-m", "monai.bundle", "run", "training", "--config_file", files, *folders, *length)

    _say("Evaluating on held-out patients")
    dices = {"threshold on FLAIR": threshold_dice(data)}
    for name, weights in (("untrained", "untrained.pt"), ("GenSeg", "model.pt")):
        folder = scores / weights.removesuffix(".pt")
        files = f"['{configs / 'inference.json'}','{configs / 'evaluate.json'}']"
        options = ["--dataset_dir", data, "--output_dir", folder, "--handlers#0#path", models / weights]
        _run("-m", "monai.bundle", "run", "evaluating", "--config_file", files, *options)
        dices[name] = read_scores(folder / "val_mean_dice_raw.csv")

    _say("Segmenting them: masks, probabilities and healthy translations on the scans' own grid")
    options = ["--dataset_dir", data, "--output_dir", out / "masks", "--save_probability", True]
    options += ["--save_translation", True, "--handlers#0#path", models / "model.pt"]
    _run("-m", "monai.bundle", "run", "inferring", "--config_file", configs / "inference.json", *options)
    picture = out / "demo.png"
    Image.fromarray(draw(read_datalist(data / "datalist.json", "test_volumes"), out / "masks")).save(picture)

    table = Table("", "mean Dice", *(f"patient {i + 1}" for i in range(len(dices["GenSeg"]))))
    for name in ("untrained", "threshold on FLAIR", "GenSeg"):
        table.add_row(name, f"{np.mean(dices[name]):.3f}", *(f"{value:.2f}" for value in dices[name]))
    console.print(table)
    minutes = (time.monotonic() - start) / 60
    summary = {"dice": dices, "epochs": epochs, "cases": cases, "labelled": labelled, "seed": seed, "minutes": minutes}
    (out / "demo.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(f"Picture: {picture}   Weights: {models / 'model.pt'}   ({minutes:.1f} minutes)")


def read_scores(path: Path) -> list[float]:
    """Scores of each patient from a file that monai's MetricsSaver wrote."""
    with path.open() as file:
        rows = list(csv.reader(file))
    return [float(row[-1]) for row in rows[1:]]


def draw(items: list[dict], masks: Path, rows: int = 4) -> np.ndarray:
    """Picture (H, W, 3) of the first test patients: what `volume_row` shows, of the FLAIR channel."""
    drawn = []
    for item in items[:rows]:
        case = item["case"]
        volumes = [_ras(item["image"][0]) * (_ras(item["mask"]) if "mask" in item else 1)]
        volumes += [_ras(masks / f"{case}_{kind}.nii.gz") for kind in ("translation", "prob", "seg")]
        source, translation, probability, mask = volumes
        drawn.append(volume_row(source, translation[..., 0], probability, mask, _ras(item["label"])))
    return panel(drawn, VOLUME_TITLES)


def _ras(path: Path | str) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj, dtype=np.float32)


def _untrained(configs: Path, seed: int) -> dict:
    parser = ConfigParser()
    parser.read_config(configs / "train.json")
    torch.manual_seed(seed)
    return plain_state_dict(parser.get_parsed_content("network_def"))


def threshold_dice(data: Path) -> list[float]:
    """Dice of each test patient for the threshold on FLAIR that is best on the labelled training patients."""
    load = {}
    for key in ("training_volumes", "test_volumes"):
        items = [item for item in read_datalist(data / "datalist.json", key) if "label" in item]
        mask_key = "mask" if "mask" in items[0] else None
        transform = brain_preprocessing("image", "label", channels=len(items[0]["image"]), mask_key=mask_key)
        volumes = [transform(item) for item in items]
        load[key] = [np.asarray(v["image"][0]) for v in volumes], [np.asarray(v["label"][0]) for v in volumes]
    threshold = best_threshold(*load["training_volumes"])
    return [dice(image > threshold, label) for image, label in zip(*load["test_volumes"], strict=True)]


def _say(text: str) -> None:
    console.rule(f"[bold]{text}", align="left")


def _run(*arguments: object) -> None:
    command = [sys.executable, *map(str, arguments)]
    console.print(" ".join(["python", *command[1:]]), style="dim", highlight=False, soft_wrap=True)
    if subprocess.run(command, check=False).returncode != 0:
        logging.getLogger(__name__).error("the command above failed")
        raise typer.Exit(1)
