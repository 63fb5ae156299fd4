"""GenSeg and its baselines on cluttered MNIST, all with the same images, labels (1 %, only nines), updates and seeds.

python -m data_prep.cluttered_mnist --data MNIST --out DATA --train-images 12000 --test-images 2000
python -m benchmarks.cluttered_mnist --data DATA --work WORK
"""

from __future__ import annotations

import csv
import json
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.results import ROOT, write_result
from benchmarks.run import log_of, run_bundle, train

CONFIGS = ROOT / "bundles" / "brain_mri_genseg_segmentation" / "configs"
METHODS = {
    "Segmentation only": ["baselines/segmentation_only.json"],
    "AE baseline": ["baselines/autoencoding.json"],
    "Mean teacher": ["baselines/mean_teacher.json"],
    "Proposed": [],
}


def train_and_score(
    name: str, overlays: list[str], seed: int, data: Path, work: Path, epochs: int, width: int
) -> float:
    """Train one method with one seed and score the weights that are best in validation on the test images."""
    run_dir = work / f"{name.replace(' ', '_')}_{seed}"
    test, log = run_dir / "test", log_of(run_dir)
    options = ["--seed", seed, "--width", width, "--epochs", epochs, "--val_interval", 2]
    train(
        CONFIGS,
        ["train.json", "data_cluttered_mnist.json", *overlays],
        run_dir,
        "--dataset_dir",
        data,
        *options,
        log=log,
    )
    options = [
        "--dataset_dir",
        data,
        "--output_dir",
        test,
        "--lists",
        "['test']",
    ]  # the paper scores images with a digit
    run_bundle("evaluating", run_dir / "configs", ["train.json", "evaluate_slices.json"], *options, log=log)
    with (test / "metrics.csv").open() as file:
        scores = {row[0]: float(row[1]) for row in csv.reader(file)}
    return scores["val_global_dice"]


app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="Folder written by data_prep.cluttered_mnist.")],
    work: Annotated[Path, typer.Option(help="Folder for weights and logs.")],
    seeds: Annotated[int, typer.Option(help="Number of random seeds.")] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs of 100 updates.")] = 20,
    width: Annotated[int, typer.Option(help="Width at full resolution; the paper's is 32.")] = 4,
    jobs: Annotated[int, typer.Option(help="Runs in parallel, one thread each.")] = 2,
    name: Annotated[str, typer.Option(help="Name of the result.")] = "cluttered_mnist_simple48",
) -> None:
    """Train every method with every seed, score it and write the result."""
    prepared = json.loads((data / "datalist.json").read_text())["preparation"]
    tasks = [(method, seed) for seed in range(seeds) for method in reversed(METHODS)]
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(train_and_score, m, METHODS[m], s, data, work, epochs, width) for m, s in tasks]
        scores = {task: future.result() for task, future in zip(tasks, futures, strict=True)}
    table = {}
    for method in METHODS:
        dices = [scores[method, seed] for seed in range(seeds)]
        spread = statistics.stdev(dices) if seeds > 1 else 0.0
        table[method] = {"mean": statistics.mean(dices), "std": spread, "runs": dices}
        print(f"{method:20s} {table[method]['mean']:.3f} ({spread:.3f})")
    figures = {"table": table, "updates": 100 * epochs, "width": width, "preparation": prepared}
    print(write_result(name, "cluttered MNIST", list(range(seeds)), figures))


if __name__ == "__main__":
    app()
