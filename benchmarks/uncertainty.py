"""What test-time augmentation, uncertainty and temperature of the released weights are worth.

On TCGA-LGG (GenSeg; the patients of `lgg_weights`) and on heart phantoms that the cardiac weights have not seen: Dice
of the masks on disk with and without copies of the scans, and their cost in processor time; how well the numbers of
`uncertainty.csv` order the patients by Dice; calibration error and likelihood of the test patients before and after a
temperature that validation patients chose.

    python -m data_prep.phantoms heart --out HEARTS --cases 32 --seed 7
    python -m benchmarks.uncertainty SLICES HEARTS WORK
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import torch
import typer
from scipy.stats import spearmanr
from transeg.bundle.segment import run_segmentation
from transeg.bundle.temperature import fit_scans, labelled_scans, probabilities_of
from transeg.data.volumes import find_volumes
from transeg.metrics.calibration import calibration_error, negative_log_likelihood, tempered
from transeg.metrics.statistics import paired_difference
from transeg.metrics.uncertainty import pairwise_dice
from transeg.transforms.members import TABLE
from transeg.transforms.preprocessing import label_loading

from benchmarks.lgg import GENSEG, Slices, Test, Validation, Work, prepare
from benchmarks.results import ROOT, write_result

CARDIAC = ROOT / "bundles" / "cardiac_ct_mr_segmentation"
COPIES = {"TCGA-LGG": (3, 7), "heart phantoms": (2, 4)}  # of a scan
NUMBERS = {"entropy": -1, "disagreement": -1, "member_dice": 1}  # of a case, and the sign with which they follow Dice
MEASURES = {"calibration error": calibration_error, "negative log-likelihood": negative_log_likelihood}


def main(
    slices: Slices,
    hearts: Annotated[Path, typer.Argument(help="Heart phantoms.")],
    work: Work,
    validation: Validation = 8,
    test: Test = 16,
) -> None:
    """Segment, compare and write the result."""
    data = {
        "TCGA-LGG": (GENSEG, prepare(slices, work / "data", GENSEG, validation, test, "--halves"), ["test_volumes"]),
        "heart phantoms": (CARDIAC, prepare_hearts(hearts, work / "hearts"), ["test_ct_volumes", "test_mr_volumes"]),
    }
    figures = {}
    for name, (bundle, folder, lists) in data.items():
        known, recipe = labelled_scans(bundle, folder)
        items = find_volumes(folder, recipe["channels"], lists)
        figures[name] = {
            **calibration(bundle, known, items, recipe),
            **augmentation(bundle, folder, items, recipe, work / "masks" / bundle.name, COPIES[name]),
        }
        print(json.dumps({name: figures[name]}, indent=1))
    write_result("uncertainty", "TCGA-LGG and heart phantoms", [0], figures)


def prepare_hearts(raw: Path, out: Path) -> Path:
    """Prepare the phantoms as those of the weights were, unless that is done."""
    if not (out / "datalist.json").is_file():
        options = ["--pixdim", 5, "--size", 32, 32, 24]
        command = ["-m", "data_prep.mmwhs", "--data", raw, "--out", out, *options]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return out


def calibration(
    bundle: Path, known: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> dict[str, Any]:
    """Temperature by validation patients; measures of the test patients, without and with it."""
    fit = fit_scans(bundle, known, recipe)
    probabilities, labels = probabilities_of(bundle, items, recipe)
    figures: dict[str, Any] = {"temperature": fit.temperature, "validation patients": fit.scans}
    for name, measure in MEASURES.items():
        both = [[tempered(p, temperature) for p in probabilities] for temperature in (1.0, fit.temperature)]
        each = [[measure(p, label) for p, label in zip(part, labels, strict=True)] for part in both]
        pooled = [measure(torch.cat(part, dim=1), torch.cat(labels)) for part in both]
        figures[name] = {
            "all voxels": np.round(pooled, 4).tolist(),
            "mean of patients": np.round(np.mean(each, axis=1), 4).tolist(),
            "difference": paired_difference(each[1], each[0]),
        }
    return figures


def augmentation(
    bundle: Path,
    data: Path,
    items: Sequence[Mapping[str, Any]],
    recipe: Mapping[str, Any],
    out: Path,
    copies: Sequence[int],
) -> dict[str, Any]:
    """Dice, cost and order of the test patients with several numbers of copies, 0 the first."""
    figures: dict[str, Any] = {}
    dices, seconds = {}, {}
    run_segmentation(data, bundle, out / "first", {"device": "cpu"}, pictures=False)  # all is loaded now
    for number in (0, *copies):
        folder, began = out / str(number), time.process_time()
        settings = {"device": "cpu", "tta": number, "save_uncertainty": True}
        run_segmentation(data, bundle, folder, settings, pictures=False)
        seconds[number] = time.process_time() - began
        dices[number] = [case_dice(folder, item, recipe) for item in items]
        figures[f"{number} copies"] = {
            "dice": round(float(np.mean(dices[number])), 4),
            "difference": paired_difference(dices[number], dices[0]),
            "times the processor time": round(seconds[number] / seconds[0], 2),
            "Spearman correlation with Dice": order(folder, items, dices[number]),
            "dices": np.round(dices[number], 3).tolist(),
        }
    return figures


def case_dice(folder: Path, item: Mapping[str, Any], recipe: Mapping[str, Any]) -> float:
    """Mean Dice of the structures of a case, from the mask on disk."""
    label = label_loading(recipe, "label", like="image")(dict(item))["label"][0]
    mask = nib.Nifti1Image.from_filename(folder / f"{item['case']}_seg.nii.gz")
    return pairwise_dice([np.asarray(mask.dataobj), label.numpy().astype(np.uint8)])


def order(folder: Path, items: Sequence[Mapping[str, Any]], dices: Sequence[float]) -> dict[str, Any]:
    """Spearman correlation of each number of a case with its Dice, such that 1 is best, with its bootstrap interval."""
    with (folder / TABLE).open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    found: dict[str, Any] = {}
    for name, sign in NUMBERS.items():
        texts = [rows[item["case"]][name] for item in items]
        if not all(texts):
            continue
        values, scores, random = sign * np.array(texts, float), np.array(dices), np.random.default_rng(0)
        draws = random.integers(len(scores), size=(2000, len(scores)))
        drawn = [spearmanr(values[draw], scores[draw]).statistic for draw in draws]
        found[name] = {
            "correlation": round(float(spearmanr(values, scores).statistic), 3),
            "interval": np.nanquantile(drawn, (0.025, 0.975)).round(3).tolist(),
            "values": np.round(np.abs(values), 4).tolist(),
        }
    return found


if __name__ == "__main__":
    typer.run(main)
