"""Heart phantoms through joint translation and segmentation: labels of CT help with MR, of which few are known."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transeg.bundle.package import bundle_folder
from transeg.data.datalist import read_datalist
from transeg.data.recipe import bundle_recipe
from transeg.demo.steps import conclude, read_ras, read_scores, run, run_bundle, say, train
from transeg.demo.tumours import save_untrained
from transeg.method import Scale
from transeg.methods.cardiac.recipe import HEART, class_values
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import grey, label_overlay, upright, window

WEIGHTS = Path("models", "model.pt")
NAME = "cardiac_ct_mr_segmentation"
METHOD = "CT and MR together"
TITLES = ("scan", "translation", "regions", "reference")
WINDOWS = {"ct": (-150.0, 550.0)}  # in HU; an MR has its own
OTHER = {"ct": "mr", "mr": "ct"}


def cardiac_demo(out: Path, scale: Scale) -> None:
    """Make heart phantoms, train with few MR, evaluate on MR of held-out patients, translate and draw both."""
    start = time.monotonic()
    configs = bundle_folder(NAME) / "configs"
    raw, data, run_dir = out / "raw", out / "data", out / "run"
    if not (data / "datalist.json").is_file():
        say("Making phantom patients: CT and MR of different hearts, in the layout of MM-WHS")
        run("-m", "data_prep.phantoms", "heart", "--out", raw, *scale.raw(), "--overwrite")
        say("Cropping the hearts; labels of two MR scans are known, those of CT all")
        recipe = bundle_recipe(configs.parent)
        grid = ["--pixdim", recipe["pixdim"], "--size", *recipe["image_size"], "--seed", scale.seed]
        few = ["--real-fraction", f"{2 / (scale.cases - 4):.3f}", "--fraction-of", "mr"]
        split = ["--validation", 2, "--test", 2]
        run("-m", "data_prep.mmwhs", "--data", raw, "--out", data, *grid, *few, *split)
    save_untrained(configs, data, out / "untrained.pt", scale.seed)

    alone = out / "run_real_only"
    length = ["--dataset_dir", data, *scale.training()]
    say("Training the segmenters on real volumes alone, to compare with")
    train(configs, ["train.json", "baselines/real_only.json"], alone, *length)
    say("Training: segmenters, then translators, then all of them together")
    train(configs, ["train.json"], run_dir, *length)

    say("Evaluating on the MR of held-out patients")
    weights = {"untrained": out / "untrained.pt", "MR alone": alone / WEIGHTS, METHOD: run_dir / WEIGHTS}
    trained, dices = run_dir / "configs", {}
    for name, path in weights.items():
        folder = out / "scores" / name.replace(" ", "_")
        options = ["--dataset_dir", data, "--output_dir", folder, "--modality", "mr", "--handlers#0#path", path]
        run_bundle("evaluating", trained, ["inference.json", "evaluate.json"], *options)
        dices[name] = read_scores(folder)

    say("Segmenting and translating them on the scans' own grid: CT in HU, and what the translation moved")
    options = ["--dataset_dir", data, "--output_dir", out / "masks", "--save_mask", True]
    for modality in OTHER:
        run_bundle("inferring", trained, ["inference.json", "translate.json"], *options, "--modality", modality)
    items = {modality: read_datalist(data / "datalist.json", f"test_{modality}_volumes") for modality in OTHER}
    Image.fromarray(draw(items, out / "masks")).save(out / "demo.png")
    conclude(out, dices, scale.record(), start, METHOD)


def draw(items: Mapping[str, Sequence[Mapping[str, Any]]], masks: Path, rows: int = 2) -> np.ndarray:
    """Picture (H, W, 3) of the first test patients of both modalities, with the regions found and the true ones.

    Args:
        items: lists of volumes with labels, of one size, by modality.
        masks: folder of what inference wrote.
        rows: most patients of each modality.
    """
    drawn, classes = [], class_values(HEART["labels"], HEART["label_values"])
    for modality, other in OTHER.items():
        for item in items[modality][:rows]:
            found = [masks / f"{item['case']}_{kind}.nii.gz" for kind in (other, "seg")]
            volumes = [read_ras(path) for path in (item["image"], *found, item["label"])]
            volumes[3] = np.vectorize(lambda value: classes[int(value)], otypes=[int])(volumes[3])
            z = int((volumes[3] > 0).sum(axis=(0, 1)).argmax())
            scan, translation, mask, label = (upright(volume[..., z]) for volume in volumes)
            ground = grey(scan, *WINDOWS.get(modality, window(scan)))
            translated = grey(translation, *WINDOWS.get(other, window(translation)))
            tiles = [ground, translated, label_overlay(ground, mask), label_overlay(ground, label)]
            drawn.append([Tile(pixels) for pixels in tiles])
    return panel(drawn, TITLES)
