"""Which epoch the criteria without labels choose, against the one that labels would.

Short training runs of every bundle on phantoms. The criteria of each epoch are those of the run's `epochs.csv` and, to
see whether it would help, "agreement": 1 - soft Dice between the segmentations of validation scans and of copies with
another contrast. They are compared with the score of the validation masks, which also tells what a choice loses. In the
hearts, the labels of MR are hidden from the training. Runs that are done are not repeated; several processes may do a
bundle each (`--bundle`); each writes what is done by then.

    python -m benchmarks.epochs WORK
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator
from scipy.stats import spearmanr
from torch import Tensor
from transeg.bundle.epochs import CYCLE, DISTANCE, TABLE, Row, candidates, read_epochs, recommended
from transeg.method import find_method
from transeg.metrics.label_free import mean_ranks

from benchmarks.doctor import PREPARED, make_clean
from benchmarks.results import ROOT, write_result

SETTINGS: dict[str, dict[str, Any]] = {
    "genseg": {"width": 4, "levels": 3, "discriminator_levels": 2, "epochs": 8, "batches_per_epoch": 25},
    "pathogan": {"width": 8, "blocks": 2, "epochs": 8, "batches_per_epoch": 25, "choose_threshold": False},
    "thigh": {"width": 8, "blocks": 2, "crop_size": [48, 48], "epochs": 8, "batches_per_epoch": 30},
    "cardiac": {"width": 4, "epochs": 10, "segmenter_epochs": 1, "translation_epochs": 1, "batches_per_epoch": 8},
}
NOT_NEEDED = {"TrustCalibration", "PanelSaver"}
AGREEMENT, SCORE = "agreement", "score"
GAMMA = 1.2  # of the copies with another contrast
LAST, BY_RANKS = "last", "recommended"


def main(
    work: Annotated[Path, typer.Argument(help="Folder for phantoms and runs.")],
    bundle: Annotated[list[str] | None, typer.Option(help="Method of a bundle (repeatable; default: all).")] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
) -> None:
    """Train, compare and write the result."""
    torch.set_num_threads(1)
    data = work / "phantoms"
    if not data.is_dir():
        make_clean(data)
    for seed in range(seeds):
        for method in bundle or PREPARED:
            if not rows_of(work, method, seed).is_file():
                rows = train(method, hidden(data) if method == "cardiac" else data / method, work, seed)
                rows_of(work, method, seed).write_text(json.dumps(rows))
    done = {method: sorted(work.glob(f"{method}_?.json")) for method in PREPARED}
    tables = {method: [json.loads(path.read_text()) for path in paths] for method, paths in done.items() if paths}
    figures = {method: compare(rows) for method, rows in tables.items()} | {"settings": SETTINGS}
    write_result("epochs", "small phantoms of every bundle, see benchmarks.doctor", [*range(seeds)], figures)


def rows_of(work: Path, method: str, seed: int) -> Path:
    """File with the epochs of a run."""
    return work / f"{method}_{seed}.json"


def hidden(data: Path) -> Path:
    """Hearts of which no training volume of MR has a label."""
    folder = data / "cardiac_ct_labels"
    if not folder.is_dir():
        shutil.copytree(data / "cardiac", folder)
        content = json.loads((folder / "datalist.json").read_text())
        for item in content["training_mr"]:
            item.pop("label", None)
        (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def train(method: str, data: Path, work: Path, seed: int) -> list[Row]:
    """Epochs of a training run, with their criteria and the score of their masks."""
    run, root = work / f"{method}_{seed}", ROOT / "bundles" / find_method(method).bundle
    shutil.rmtree(run, ignore_errors=True)
    parser = ConfigParser()
    parser.read_config(str(root / "configs" / "train.json"))
    fixed = {"bundle_root": str(root), "dataset_dir": str(data), "run_dir": str(run), "device": "$torch.device('cpu')"}
    for key, value in {**SETTINGS[method], **fixed, "seed": seed, "save_last": True}.items():
        parser[key] = value
    handlers = parser["train#handlers"]
    parser["train#handlers"] = [one for one in handlers if one["_target_"].split(".")[-1] not in NOT_NEEDED]
    parser.get_parsed_content("initialize")
    trainer, validator = (parser.get_parsed_content(key) for key in ("train#trainer", "validate#evaluator"))
    agreement = Agreement(validator)
    agreement.attach(trainer)
    trainer.run()
    name = validator.state.key_metric_name
    return [
        {**row, AGREEMENT: agreement.found[int(row["epoch"])], SCORE: row[name]}
        for row in read_epochs(run / "logs" / TABLE)
    ]


class Agreement:
    """1 - soft Dice between the segmentations of validation scans and of copies with another contrast.

    Args:
        validator: segments and postprocesses.
    """

    def __init__(self, validator: SupervisedEvaluator) -> None:
        self.validator, self.found = validator, dict[int, float]()
        self.segmented: list[Tensor] = []

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        self.validator.add_event_handler(Events.STARTED, self._begin)
        self.validator.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _begin(self, engine: Engine) -> None:
        self.segmented = []

    def _collect(self, engine: Engine) -> None:
        items = cast(list[dict[str, Any]], engine.state.output)
        self.segmented += [torch.as_tensor(item["pred"]) for item in items]

    def __call__(self, engine: Engine) -> None:
        """Segment the copies."""
        plain, inferer, state = self.segmented, self.validator.inferer, self.validator.state
        metrics, best = dict(state.metrics), (state.best_metric, state.best_metric_epoch)
        cast(Any, self.validator).inferer = lambda image, *rest, **more: inferer(with_contrast(image), *rest, **more)
        self.validator.run()
        self.validator.inferer, state.metrics = inferer, metrics
        state.best_metric, state.best_metric_epoch = best
        dices = [soft_dice(first, second) for first, second in zip(plain, self.segmented, strict=True)]
        self.found[engine.state.epoch] = 1 - float(np.mean(dices))


def with_contrast(image: Tensor) -> Tensor:
    """Intensities in [-1, 1], changed by an exponent."""
    return ((image + 1) / 2).clamp(0, 1) ** GAMMA * 2 - 1


def soft_dice(first: Tensor, second: Tensor) -> float:
    """Of two segmentations (C, *S), the background of several classes left out."""
    a, b = (part[1:] if len(part) > 1 else part for part in (first, second))
    return float((2 * (a * b).sum() + 1) / (a.square().sum() + b.square().sum() + 1))


def compare(runs: Sequence[Sequence[Row]]) -> dict[str, Any]:
    """Correlation with the score, and what each choice loses, in each run and on average."""
    sets: dict[str, Sequence[str]] = {
        CYCLE: [CYCLE],
        DISTANCE: [DISTANCE],
        AGREEMENT: [AGREEMENT],
        "cycle, distance": [CYCLE, DISTANCE],
        "cycle, distance, agreement": [CYCLE, DISTANCE, AGREEMENT],
    }
    correlation: dict[str, list[float]] = {name: [] for name in ("epoch", *sets)}
    lost: dict[str, list[float]] = {name: [] for name in (LAST, BY_RANKS, *sets)}
    for rows in runs:
        chosen = candidates(rows)
        scores = np.array([row[SCORE] for row in chosen])
        best = scores.max()
        correlation["epoch"].append(spearmanr([row["epoch"] for row in chosen], scores).statistic)
        lost[LAST].append(best - rows[-1][SCORE])
        lost[BY_RANKS].append(best - recommended(rows)[SCORE])
        for name, criteria in sets.items():
            ranks = mean_ranks([{key: row[key] for key in criteria} for row in chosen])
            correlation[name].append(spearmanr(-ranks, scores).statistic)
            lost[name].append(best - scores[np.flatnonzero(ranks == ranks.min())[-1]])
    return {
        "correlation with the score": _with_mean(correlation),
        "score lost": _with_mean(lost),
        "best score": [round(max(row[SCORE] for row in candidates(rows)), 3) for rows in runs],
        "recommended epoch": [recommended(rows)["epoch"] for rows in runs],
        "best epoch": [max(candidates(rows), key=lambda row: row[SCORE])["epoch"] for rows in runs],
        "epochs": [[{key: round(value, 4) for key, value in row.items()} for row in rows] for rows in runs],
    }


def _with_mean(values: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    return {
        name: {"mean": round(float(np.mean(each)), 3), "runs": np.round(each, 3).tolist()}
        for name, each in values.items()
    }


if __name__ == "__main__":
    typer.run(main)
