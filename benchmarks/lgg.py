"""TCGA-LGG for the benchmarks: its preparation, and its scans and masks as published."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import nibabel as nib
import numpy as np
import torch
import typer
from monai.data import MetaTensor
from PIL import Image
from transeg import methods
from transeg.bundle.make import format_config
from transeg.bundle.runs import OF_OTHER_WEIGHTS
from transeg.metrics.overlap import dice
from transeg.metrics.statistics import paired_difference
from transeg.transforms.load import LoadVolumed
from transeg.transforms.preprocessing import label_loading
from transeg.visual.panel import panel
from transeg.visual.volumes import VOLUME_TITLES, volume_row

from benchmarks.results import ROOT, earlier_scores, write_result
from benchmarks.run import install_weights

GENSEG = ROOT / "bundles" / "brain_mri_genseg_segmentation"
PATHOGAN = ROOT / "bundles" / "brain_mri_pathogan_segmentation"
DATA = "TCGA-LGG, patients with three sequences, 128 x 128"
GRID = ("--size", "128,128", "--spacing", 1.88, 1.88, 6)  # slices of 256 pixels of about 0.94 mm, halved
FLAIR = 1
SPLITS = ("training", "validation", "test")
Scans = list[dict[str, Any]]
Scores = Mapping[int, Mapping[str, Sequence[float]]]  # of each seed

WITH_TRANSLATION = ("--save_probability", True, "--save_translation", True)  # what `draw` needs of inference
# options of the benchmarks
Slices = Annotated[Path, typer.Argument(help="Folder of the patients.")]
Work = Annotated[Path, typer.Argument(help="Folder for prepared data, runs and masks.")]
Validation = Annotated[int, typer.Option(help="Validation patients.")]
Test = Annotated[int, typer.Option(help="Test patients.")]
Name = Annotated[str, typer.Option(help="Name of the result.")]
Install = Annotated[bool, typer.Option("--install", help="Make the weights those of the bundle.")]
Add = Annotated[bool, typer.Option("--add", help="Keep other methods and seeds of an earlier result of the name.")]
Settings = Annotated[list[str] | None, typer.Option(help="Setting of the training configs: KEY=VALUE.")]


def pack(run: Path, result: Path) -> Path:
    """Archive of a run folder as a bundle, beside a result: configs, card, and weights in half precision."""
    folder = run.parent / f"{run.name}_packed"
    for part in ("configs", "docs"):
        shutil.copytree(run / part, folder / part, dirs_exist_ok=True)
    install_weights(run, folder)
    return Path(shutil.make_archive(str(result.with_suffix("")), "zip", folder))


def install(run: Path, bundle: Path) -> None:
    """Make the weights of a run those of a bundle, with what they know of their training scans."""
    install_weights(run, bundle)
    inference = json.loads((run / "configs" / "inference.json").read_text())
    source = Path(methods.__path__[0]) / inference["recipe"]["method"] / "bundle.json"
    source.with_name("familiarity.json").write_text(format_config(inference["recipe"]["familiarity"]) + "\n")
    text = source.read_text()
    for key in OF_OTHER_WEIGHTS.keys() & inference.keys():
        text = re.sub(rf'"{key}": (null|[\d.]+|\{{[^}}]*\}})', f'"{key}": {json.dumps(inference[key])}', text)
    source.write_text(text)
    subprocess.run([sys.executable, "-m", "transeg.cli", "make"], check=True)


def release(
    run: Path, result: Path, bundle: Path, items: Scans, masks: Path, dices: Sequence[float], into_bundle: bool
) -> None:
    """Pack the weights of a run; if wanted, make them those of the bundle, whose card then shows test patients."""
    print(result, pack(run, result))
    if into_bundle:
        install(run, bundle)
        draw(items, masks, dices, bundle / "docs" / "lgg.png")


def draw(items: Scans, masks: Path, dices: Sequence[float], path: Path) -> None:
    """Picture of the test patients at the 80th, 60th, 40th and 20th percentile of Dice.

    Args:
        items: of the test patients.
        masks: folder of the masks, probabilities and translations that inference wrote.
        dices: of the masks, in the order of the items.
        path: of the picture.
    """
    order = np.argsort(dices)
    rows = []
    for k in (order[round(part * (len(items) - 1))] for part in (0.8, 0.6, 0.4, 0.2)):
        translation, probability, mask = (
            nib.Nifti1Image.from_filename(masks / f"{items[k]['case']}_{kind}.nii.gz")
            for kind in ("translation", "prob", "seg")
        )
        volumes = [read_flair(items[k], scaled=False), np.asarray(translation.dataobj)[..., FLAIR]]
        volumes += [np.asarray(probability.dataobj), np.asarray(mask.dataobj), read_reference(items[k])]
        scan, healthy, likely, found, reference = (to_ras(volume, mask.affine) for volume in volumes)
        rows.append(volume_row(scan, healthy, likely, found, reference))
    Image.fromarray(panel(rows, VOLUME_TITLES)).save(path)


def to_ras(volume: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A volume (X, Y, Z) turned to RAS."""
    return np.asarray(nib.as_closest_canonical(nib.Nifti1Image(volume.astype(np.float32), affine)).dataobj)


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


def load_scan(item: Mapping[str, Any]) -> MetaTensor:
    """The sequences of a patient (C, X, Y, Z), with their affine."""
    keys = [f"image_{k}" for k in range(len(item["image"]))]
    files: dict[Hashable, Any] = {**dict(zip(keys, item["image"], strict=True)), "spacing": item.get("spacing")}
    loaded = LoadVolumed(keys)(files)
    return cast(MetaTensor, torch.cat([loaded[key] for key in keys]))


def read_scan(item: Mapping[str, Any]) -> np.ndarray:
    """The voxels of `load_scan`."""
    return np.asarray(load_scan(item))


def read_flair(item: Mapping[str, Any], scaled: bool = True) -> np.ndarray:
    """FLAIR of a patient, divided by its 99.5 percentile or as it is."""
    image = read_scan({**item, "image": item["image"][FLAIR : FLAIR + 1]})[0]
    return image / np.percentile(image, 99.5) if scaled else image


def score(masks: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> dict[str, list[float]]:
    """Dice of each patient, the share of its slices without the tumour that are marked, and of those with it."""
    pairs = list(zip(masks, references, strict=True))
    return {
        "dice": [dice(mask, reference) for mask, reference in pairs],
        "false_alarms": [float(marked_slices(mask)[~marked_slices(reference)].mean()) for mask, reference in pairs],
        "sensitivity": [float(marked_slices(mask)[marked_slices(reference)].mean()) for mask, reference in pairs],
    }


def marked_slices(mask: np.ndarray) -> np.ndarray:
    """Which slices of a mask (X, Y, Z) have any of it, (Z,)."""
    return np.asarray(mask.any((0, 1)))


def summary(scores: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """Means over seeds and patients of what `score` gives for each seed."""
    dices = np.mean([values["dice"] for values in scores], axis=0)
    return {
        "mean": round(float(dices.mean()), 3),
        "median": round(float(np.median(dices)), 3),
        "seeds": [round(float(np.mean(values["dice"])), 3) for values in scores],
        **{key: round(float(np.nanmean([v[key] for v in scores])), 3) for key in ("false_alarms", "sensitivity")},
    }


def write(
    name: str, method: str, data: Path, found: Mapping[str, Scores], settings: Mapping[str, Any], add: bool = False
) -> Path:
    """Write the result: scores of each method for each seed, and how far one is ahead of the others on each patient.

    Args:
        name: of the result.
        method: the one that is compared with the others.
        data: prepared data.
        found: by method and seed, see `score`; without a network, of one seed.
        settings: what the result depends on.
        add: keep what an earlier result of the name has of other methods and seeds; its settings must be the same.

    Raises:
        ValueError: they are not.
    """
    lists = json.loads((data / "datalist.json").read_text())
    patients = {split: [item["case"] for item in lists[f"{split}_volumes"]] for split in SPLITS}
    same = {"kept": lists["preparation"]["kept"], "settings": dict(settings), "patients": patients}
    scores = {key: dict(value) for key, value in found.items()}
    if add:
        for other, by_seed in earlier_scores(name, same).items():
            scores[other] = {int(seed): value for seed, value in by_seed.items()} | scores.get(other, {})
    scores = {other: dict(sorted(by_seed.items())) for other, by_seed in scores.items()}
    dices = {other: np.mean([own["dice"] for own in by_seed.values()], axis=0) for other, by_seed in scores.items()}
    others = [other for other in scores if other != method] if method in scores else []
    figures: dict[str, Any] = {other: summary([*by_seed.values()]) for other, by_seed in scores.items()}
    figures |= {
        "difference": {other: paired_difference(dices[method], dices[other]) for other in others},
        "scores": {
            other: {
                str(seed): {key: np.round(value, 3).tolist() for key, value in own.items()}
                for seed, own in by_seed.items()
            }
            for other, by_seed in scores.items()
        },
        **same,
    }
    print(json.dumps({key: figures[key] for key in (*scores, "difference")}, indent=1))
    return write_result(name, DATA, sorted({seed for by_seed in scores.values() for seed in by_seed}), figures)
