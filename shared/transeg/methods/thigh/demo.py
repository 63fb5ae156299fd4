"""Thigh phantoms through the hard-to-easy translation, trained without any mask."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from monai.utils import ensure_tuple
from PIL import Image

from transeg.bundle.package import bundle_folder
from transeg.data.datalist import read_datalist
from transeg.demo.steps import conclude, read_ras, read_scores, run, run_bundle, say, train
from transeg.method import Scale
from transeg.visual.panel import panel
from transeg.visual.volumes import VOLUME_TITLES, volume_row

NAME = "thigh_mri_muscle_segmentation"
METHOD = "GMM of the translations"


def thigh_demo(out: Path, scale: Scale) -> None:
    """Make thigh phantoms, train the translation, segment held-out severe patients and draw what changed."""
    start = time.monotonic()
    configs = bundle_folder(NAME) / "configs"
    raw, data, run_dir = out / "raw", out / "data", out / "run"
    if not (data / "datalist.json").is_file():
        say("Making phantom patients: healthy, minor, moderate and severe infiltration")
        run("-m", "data_prep.phantoms", "thigh", "--out", raw, *scale.raw(), "--overwrite")
        say("Cutting slices with infiltration (hard) and without (easy)")
        run("-m", "data_prep.thigh", "--data", raw, "--out", data, "--seed", scale.seed)

    say("Training: translation between hard and easy, no mask is used")
    options = ["--dataset_dir", data, "--val_interval", scale.epochs, *scale.training(50)]
    train(configs, ["train.json"], run_dir, *options)

    say("Evaluating on held-out severe patients")
    dices = {}
    trained = run_dir / "configs"
    for name, overlays in {"GMM of the scans": ["baselines/original.json"], METHOD: []}.items():
        folder = out / "scores" / name.replace(" ", "_")
        files = ["inference.json", "evaluate.json", *overlays]
        run_bundle("evaluating", trained, files, "--dataset_dir", data, "--output_dir", folder)
        dices[name] = read_scores(folder)

    say("Segmenting them: masks, muscle volume and fat fraction of each leg, trust in each translation")
    masks = out / "masks"
    options = ["--dataset_dir", data, "--output_dir", masks, "--save_translation", True]
    run_bundle("inferring", trained, ["inference.json"], *options)
    items = read_datalist(data / "datalist.json", "test_volumes")
    Image.fromarray(draw(items, masks)).save(out / "demo.png")
    conclude(out, dices, scale.record(), start, METHOD)


def draw(items: list[dict], masks: Path, rows: int = 4) -> np.ndarray:
    """Picture (H, W, 3) of the first test patients: scan, translation, what it darkened, mask and reference."""
    drawn = []
    for item in items[:rows]:
        found = [masks / f"{item['case']}_{kind}.nii.gz" for kind in ("translation", "seg")]
        files = [ensure_tuple(item["image"])[0], *found, item["label"]]
        scan, translation, mask, label = (read_ras(file) for file in files)
        tiles = volume_row(scan, translation, None, mask, label, z=scan.shape[2] // 2)
        drawn.append([tile for tile, title in zip(tiles, VOLUME_TITLES, strict=True) if title != "probability"])
    return panel(drawn, [title for title in VOLUME_TITLES if title != "probability"])
