"""Brain phantoms through GenSeg, trained on few labels."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np

from transeg.bundle.package import bundle_folder
from transeg.data.datalist import read_datalist
from transeg.demo.steps import conclude, read_scores, run, run_bundle, say, train
from transeg.demo.tumours import dice_above_threshold, make_phantoms, save_untrained, segment_and_draw
from transeg.method import Scale
from transeg.transforms.preprocessing import load_scan

NAME = "brain_mri_genseg_segmentation"
WIDTH = 4
MIN_BRAIN = 0.02  # the paper's 0.25 leaves out the slices near the vertex and the base, which whole volumes contain


def brain_demo(out: Path, scale: Scale, labelled: float = 0.25) -> None:
    """Make brain phantoms, train GenSeg on a few labels, evaluate it on held-out patients and draw what it sees."""
    start = time.monotonic()
    bundle = bundle_folder(NAME)
    configs = bundle / "configs"
    raw, data, run_dir = out / "raw", out / "data", out / "run"
    if not (data / "datalist.json").is_file():
        make_phantoms(raw, scale)
        say("Cutting half-slices with (P) and without (A) tumour")
        options = ["--labelled-fraction", labelled, "--seed", scale.seed, "--min-brain", MIN_BRAIN]
        run("-m", "data_prep.brats", "--data", raw, "--out", data, *options)
    save_untrained(configs, data, out / "untrained.pt", scale.seed, width=WIDTH)

    say("Training: translation between P and A, segmentation where there are labels")
    options = ["--dataset_dir", data, "--width", WIDTH, *scale.training(50)]
    train(configs, ["train.json", "averaged.json"], run_dir, *options)

    say("Evaluating on held-out patients")
    dices = {}
    for name, weights in (("untrained", out / "untrained.pt"), ("GenSeg", run_dir / "models" / "model.pt")):
        folder = out / "scores" / name
        options = ["--dataset_dir", data, "--output_dir", folder, "--handlers#0#path", weights]
        run_bundle("evaluating", run_dir / "configs", ["inference.json", "evaluate.json"], *options)
        dices[name] = read_scores(folder)
    dices = {"untrained": dices["untrained"], "threshold on FLAIR": threshold_dice(data), "GenSeg": dices["GenSeg"]}

    segment_and_draw(data, out)
    conclude(out, dices, scale.record() | {"labelled": labelled}, start, "GenSeg")


def threshold_dice(data: Path) -> list[float]:
    """Dice of each test patient for the threshold on FLAIR that is best on the labelled training patients."""
    recipe = json.loads((data / "datalist.json").read_text())["recipe"]
    load = {}
    for key in ("training_volumes", "test_volumes"):
        items = [item for item in read_datalist(data / "datalist.json", key) if "label" in item]
        scans = [load_scan(recipe, item) for item in items]
        load[key] = [scan.image[0] for scan in scans], [np.asarray(scan.label) for scan in scans]
    return dice_above_threshold(load["training_volumes"], load["test_volumes"])
