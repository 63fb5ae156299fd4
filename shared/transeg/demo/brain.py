"""Brain phantoms through GenSeg, trained on few labels."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image

from transeg.data import read_datalist
from transeg.demo.steps import conclude, read_ras, read_scores, run, run_bundle, say
from transeg.metrics import best_threshold, dice
from transeg.networks import plain_state_dict
from transeg.release.package import bundle_folder
from transeg.transforms import brain_preprocessing
from transeg.visual import VOLUME_TITLES, panel, volume_row

NAME = "brain_mri_genseg_segmentation"
MIN_BRAIN = 0.02  # the paper's 0.25 leaves out the slices near the vertex and the base, which whole volumes contain


def brain_demo(out: Path, cases: int, labelled: float, epochs: int, seed: int) -> None:
    """Make brain phantoms, train GenSeg on a few labels, evaluate it on held-out patients and draw what it sees."""
    start = time.monotonic()
    bundle = bundle_folder(NAME)
    configs = bundle / "configs"
    raw, data, models, scores = out / "raw", out / "data", out / "models", out / "scores"
    if not (data / "datalist.json").is_file():
        say("Making phantom patients in the layout of BraTS")
        options = ["--out", raw, "--cases", cases, "--seed", seed, "--overwrite"]
        run("-m", "data_prep.phantoms", "brain", *options)
        say("Cutting half-slices with (P) and without (A) tumour")
        options = ["--labelled-fraction", labelled, "--seed", seed, "--min-brain", MIN_BRAIN]
        run("-m", "data_prep.brats", "--data", raw, "--out", data, *options)
    models.mkdir(parents=True, exist_ok=True)
    torch.save(_untrained(configs, seed), models / "untrained.pt")

    say("Training: translation between P and A, segmentation where there are labels")
    folders = ["--dataset_dir", data, "--ckpt_dir", models, "--output_dir", out / "training"]
    length = ["--epochs", epochs, "--batches_per_epoch", 50, "--seed", seed]
    files = ["train.json", "averaged.json"]
    run_bundle("training", configs, files, *folders, *length, "--resume", True)  # an interrupted demo goes on

    say("Evaluating on held-out patients")
    dices = {}
    for name, weights in (("untrained", "untrained.pt"), ("GenSeg", "model.pt")):
        folder = scores / weights.removesuffix(".pt")
        options = ["--dataset_dir", data, "--output_dir", folder, "--handlers#0#path", models / weights]
        run_bundle("evaluating", configs, ["inference.json", "evaluate.json"], *options)
        dices[name] = read_scores(folder / "val_mean_dice_raw.csv")
    dices = {"untrained": dices["untrained"], "threshold on FLAIR": threshold_dice(data), "GenSeg": dices["GenSeg"]}

    say("Segmenting them: masks, probabilities and healthy translations on the scans' own grid")
    options = ["--dataset_dir", data, "--output_dir", out / "masks", "--save_probability", True]
    options += ["--save_translation", True, "--handlers#0#path", models / "model.pt"]
    run_bundle("inferring", configs, ["inference.json"], *options)
    items = read_datalist(data / "datalist.json", "test_volumes")
    Image.fromarray(draw(items, out / "masks")).save(out / "demo.png")
    settings = {"epochs": epochs, "cases": cases, "labelled": labelled, "seed": seed}
    conclude(out, dices, settings, start, "GenSeg")


def draw(items: list[dict], masks: Path, rows: int = 4) -> np.ndarray:
    """Picture (H, W, 3) of the first test patients: what `volume_row` shows, of the FLAIR channel."""
    drawn = []
    for item in items[:rows]:
        case = item["case"]
        volumes = [read_ras(item["image"][0]) * (read_ras(item["mask"]) if "mask" in item else 1)]
        volumes += [read_ras(masks / f"{case}_{kind}.nii.gz") for kind in ("translation", "prob", "seg")]
        source, translation, probability, mask = volumes
        drawn.append(volume_row(source, translation[..., 0], probability, mask, read_ras(item["label"])))
    return panel(drawn, VOLUME_TITLES)


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
