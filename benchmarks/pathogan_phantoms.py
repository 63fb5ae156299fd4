"""Table 1 of Andermatt et al. 2018 on phantoms: PathoGAN with image-level labels, a threshold on FLAIR chosen on the
masks of the validation patients, and a U-Net trained on the masks of the same slices.

All use the bundle's evaluation; weights are those of the last update. Finished parts are not repeated.

    python -m data_prep.phantoms brain --out RAW --cases 200
    SLICES="python -m data_prep.brats_slices --data RAW --first 60 --last 100 --test 40 --validation 10"
    $SLICES --out DATA
    $SLICES --out LABELLED --labelled
    python -m benchmarks.pathogan_phantoms --data DATA --labelled LABELLED --work WORK --install
"""

from __future__ import annotations

import csv
import json
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from transeg.bundle.runs import WEIGHTS
from transeg.data.datalist import read_datalist
from transeg.data.recipe import load_recipe
from transeg.demo.tumours import draw
from transeg.methods.pathogan.demo import tumour_slices, widest_tumour_slice
from transeg.metrics.threshold import best_threshold

from benchmarks.results import ROOT, write_result
from benchmarks.run import log_of, run_bundle, train

BUNDLE = ROOT / "bundles" / "brain_mri_pathogan_segmentation"
CONFIGS = BUNDLE / "configs"
METHODS = {"PathoGAN": [], "supervised": ["baselines/supervised.json"]}
SPREADS = ("patient_dice", "slice_dice", "slice_hd95", "slice_avd")
Summary = dict[str, Any]
Stacks = tuple[list[np.ndarray], list[np.ndarray]]  # images and masks


def train_method(data: Path, run_dir: Path, overlays: Sequence[str], *options: object) -> None:
    """Train a method into a run folder, or resume its training run, unless finished."""
    if not (run_dir / WEIGHTS).is_file():
        train(CONFIGS, ["train.json", *overlays], run_dir, "--dataset_dir", data, *options, log=log_of(run_dir))


def evaluate(data: Path, run_dir: Path, *options: object, configs: Path | None = None) -> Summary:
    """`slices_summary.json` of a run on the test volumes, with the Dice of each patient as "dices".

    Args:
        data: prepared slices.
        run_dir: run folder.
        options: of the evaluation.
        configs: folder of the configs; default those of the run.
    """
    test = run_dir / "test"
    if not (test / "slices_summary.json").is_file():
        places = ["--dataset_dir", data, "--output_dir", test]
        files = ["inference.json", "evaluate.json"]
        run_bundle("evaluating", configs or run_dir / "configs", files, *places, *options, log=log_of(run_dir))
    with (test / "patients.csv").open() as file:
        dices = {row["case"]: float(row["dice"]) for row in csv.DictReader(file) if row["dice"]}
    return json.loads((test / "slices_summary.json").read_text()) | {"dices": dices}


def flair_stacks(data: Path, key: str) -> Stacks:
    """FLAIR and masks (N, X, Y) of the slices with tumour of each case of a list, normalised as the bundle does."""
    images, labels = zip(*tumour_slices(data / "datalist.json", key).values(), strict=True)
    return list(images), list(labels)


def evaluate_threshold(data: Path, folder: Path, stacks: Stacks, *options: object) -> Summary:
    """As `evaluate`, for the best threshold on FLAIR of these slices, as a network with one 1x1 convolution."""
    level = best_threshold(*stacks, candidates=1000)  # many fall into the background, which is not 0
    recipe = load_recipe(data / "datalist.json", BUNDLE)
    channels = len(recipe["channels"])
    weight = torch.zeros(1, channels, 1, 1)
    weight[0, 0] = 1
    path = folder / "model.pt"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"weight": weight, "bias": torch.tensor([-level])}, path)
    definition = {"_target_": "torch.nn.Conv2d", "in_channels": channels, "out_channels": 1, "kernel_size": 1}
    network = ["--network_def", definition, "--recipe", recipe, "--handlers#0#path", path]
    return evaluate(data, folder, *network, *options, configs=CONFIGS) | {"threshold": level}


def picture(data: Path, run_dir: Path, path: Path, *options: object) -> None:
    """Panel of test patients: scan, healthy translation, residual, probability, mask and reference."""
    masks = run_dir / "masks"
    places = ["--dataset_dir", data, "--output_dir", masks]
    wanted = ["--save_probability", True, "--save_translation", True, "--save_reports", False]
    configs, log = run_dir / "configs", log_of(run_dir)
    run_bundle("inferring", configs, ["inference.json"], *places, *wanted, *options, log=log)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.loads((data / "datalist.json").read_text())["preparation"]["options"]
    items = read_datalist(data / "datalist.json", "test_volumes")
    choose_slice = partial(widest_tumour_slice, heights=(content["first"], content["last"]))
    Image.fromarray(draw(items, masks, choose_slice=choose_slice)).save(path)


def _cases(data: Path, key: str) -> list[str]:
    return [Path(item["case"]).name for item in read_datalist(data / "datalist.json", key)]


def over_seeds(runs: Sequence[Summary]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation over seeds of each mean and rate, where defined."""
    found = {name: [run[name]["mean"] for run in runs] for name in SPREADS}
    found |= {name: [run[name] for run in runs] for name in ("false_alarm_rate", "empty_predictions")}
    kept = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {
        name: {"mean": statistics.mean(values), "std": statistics.stdev(values) if len(values) > 1 else 0.0}
        for name, values in kept.items()
        if values
    }


app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Phantoms prepared by data_prep.brats_slices.")],
    labelled: Annotated[
        Path, typer.Option(help="The same phantoms prepared with --labelled, for the supervised reference.")
    ],
    work: Annotated[Path, typer.Option(help="Folder for weights, logs and scores.")],
    seeds: Annotated[int, typer.Option(help="Number of random seeds.")] = 3,
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 15,
    batches: Annotated[int, typer.Option(help="Updates per epoch.")] = 100,
    jobs: Annotated[int, typer.Option(help="Runs in parallel, one thread each.")] = 1,
    install: Annotated[bool, typer.Option(help="Copy an image of seed 0 into the bundle.")] = False,
) -> None:
    """Train both networks with every seed, score them and the threshold, and write the result."""
    if _cases(data, "test_volumes") != _cases(labelled, "test_volumes"):
        raise typer.BadParameter(
            "--data and --labelled have different test patients; prepare them with the same options"
        )
    folders = {"PathoGAN": data, "supervised": labelled}

    def score(task: tuple[str, int]) -> Summary:
        method, seed = task
        run_dir = work / f"{method}_{seed}_{epochs}x{batches}"
        length = ["--seed", seed, "--epochs", epochs, "--batches_per_epoch", batches]
        train_method(folders[method], run_dir, METHODS[method], *length)
        summary = evaluate(folders[method], run_dir)
        print(method, seed, f"Dice PP {summary['patient_dice']['mean']:.3f}", flush=True)
        return summary

    prepared = json.loads((data / "datalist.json").read_text())
    stacks = flair_stacks(data, "validation")
    threshold = evaluate_threshold(data, work / "threshold", stacks)
    print(f"FLAIR above {threshold['threshold']:.3f}: Dice PP {threshold['patient_dice']['mean']:.3f}", flush=True)
    tasks = [(method, seed) for seed in range(seeds) for method in METHODS]
    with ThreadPoolExecutor(jobs) as pool:
        scores = dict(zip(tasks, pool.map(score, tasks), strict=True))
    runs = {"threshold on FLAIR": [threshold]}
    runs |= {method: [scores[method, seed] for seed in range(seeds)] for method in METHODS}
    figures = {
        "over_seeds": {method: over_seeds(summaries) for method, summaries in runs.items()},
        "runs": runs,
        "updates": epochs * batches,
        "validation_patients": len(prepared["validation_volumes"]),
        "preparation": prepared["preparation"],
    }
    print(json.dumps(figures["over_seeds"], indent=1))
    print(write_result("pathogan_phantoms", "brain phantoms", list(range(seeds)), figures))
    if install:
        picture(data, work / f"PathoGAN_0_{epochs}x{batches}", BUNDLE / "docs" / "phantoms.png")


if __name__ == "__main__":
    app()
