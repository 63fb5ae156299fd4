"""Brain phantoms through PathoGAN, trained on one yes or no for each slice."""

from __future__ import annotations

import csv
import json
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np

from transeg.bundle.package import bundle_folder
from transeg.data.datalist import read_datalist
from transeg.data.slices import slices_between
from transeg.demo.steps import conclude, run, run_bundle, say, train
from transeg.demo.tumours import dice_above_threshold, make_phantoms, save_untrained, segment_and_draw
from transeg.method import Scale
from transeg.visual.volumes import widest_slice

NAME = "brain_mri_pathogan_segmentation"
METHOD = "PathoGAN"
HEIGHTS = ("--first", 60, "--last", 100)  # as in the paper: most of the tumours, and few updates suffice


def pathogan_demo(out: Path, scale: Scale) -> None:
    """Make brain phantoms, train PathoGAN without any mask, evaluate it on held-out patients and draw what it sees."""
    start = time.monotonic()
    configs = bundle_folder(NAME) / "configs"
    raw, data, run_dir = out / "raw", out / "data", out / "run"
    if not (data / "datalist.json").is_file():
        make_phantoms(raw, scale)
        say("Cutting slices with tumour and without")
        run("-m", "data_prep.brats_slices", "--data", raw, "--out", data, *HEIGHTS, "--seed", scale.seed)
    thresholded = threshold_dice(data)
    save_untrained(configs, data, out / "untrained.pt", scale.seed)

    say("Training: of each slice is known whether it shows a tumour, no mask is used")
    train(configs, ["train.json"], run_dir, "--dataset_dir", data, *scale.training(50))

    say("Evaluating on the tumour slices of held-out patients")
    found = {}
    for name, weights in (("untrained", out / "untrained.pt"), (METHOD, run_dir / "models" / "model.pt")):
        folder = out / "scores" / name
        options = ["--dataset_dir", data, "--output_dir", folder, "--handlers#0#path", weights]
        run_bundle("evaluating", run_dir / "configs", ["inference.json", "evaluate.json"], *options)
        found[name] = read_patients(folder / "patients.csv")
    found = {"untrained": found["untrained"], "threshold on FLAIR": thresholded, METHOD: found[METHOD]}

    options = json.loads((data / "datalist.json").read_text())["preparation"]["options"]
    segment_and_draw(data, out, partial(widest_tumour_slice, heights=(options["first"], options["last"])))
    dices = {name: [by_case[case] for case in thresholded] for name, by_case in found.items()}
    conclude(out, dices, scale.record(), start, METHOD)


def read_patients(path: Path) -> dict[str, float]:
    """Dice of each patient's tumour slices from `patients.csv`; patients without such a slice are left out."""
    with path.open() as file:
        return {row["case"]: float(row["dice"]) for row in csv.DictReader(file) if row["dice"]}


def threshold_dice(data: Path) -> dict[str, float]:
    """Dice of each test patient's tumour slices for the threshold on FLAIR that is best on those for validation.

    Raises:
        ValueError: no patient for validation or none for the test has a slice with tumour.
    """
    stacks = {key: tumour_slices(data / "datalist.json", key) for key in ("validation", "test")}
    for key, by_case in stacks.items():
        if not by_case:
            raise ValueError(f"{data}: no patient for {key} has a slice with tumour; take more --cases")
    chosen, tested = (tuple(zip(*by_case.values(), strict=True)) for by_case in stacks.values())
    return dict(zip(stacks["test"], dice_above_threshold(chosen, tested), strict=True))


def tumour_slices(datalist: Path, key: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """FLAIR and label (N, X, Y) of the slices of a list, for each case in the order of their names."""
    items = read_datalist(datalist, key)
    stacks = {}
    for case in sorted({item["case"] for item in items}):
        own = [item for item in items if item["case"] == case]
        rows = [item["index"] for item in own]
        stacks[case] = np.load(own[0]["image"])[rows, 0].astype(np.float32), np.load(own[0]["label"])[rows]
    return stacks


def widest_tumour_slice(label: np.ndarray, path: str, heights: tuple[float, float]) -> int:
    """Slice with most of the tumour of those between two heights in mm."""
    thickness = float(nib.as_closest_canonical(nib.load(path)).header.get_zooms()[2])
    looked_at = slices_between(label.shape[2], thickness, *heights)
    return looked_at[widest_slice(label[..., looked_at])]
