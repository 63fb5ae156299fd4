"""Tables 1 and 2 of Zhang et al. 2018 on phantoms, and its gap analysis, for several seeds.

Table 1: S-score, the Dice of segmenters trained on real volumes only, applied to translations of test volumes by
generators trained with shape consistency (joint training) and without. Table 2: Dice of the segmenter of a modality
with few real volumes (14 % in the paper; all of the other modality): trained on real volumes only, also on translations
by fixed generators (ADA), and jointly with the generators (ours). The gap is from ADA to training on all real volumes.

All use the bundle's configs and, as in the paper, start from the same pre-trained segmenters and generators. Segmenters
train for the same number of epochs in every row, and generators in both, unless patience runs out; weights are the best
in validation (real only: of all epochs; without shape consistency: the last). Finished parts are not repeated.

    python -m data_prep.phantoms heart --out RAW --cases 60
    python -m benchmarks.cardiac_phantoms --raw RAW --work WORK --install
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from monai.bundle import ConfigParser
from transeg.bundle.runs import STATE
from transeg.data.datalist import read_datalist
from transeg.data.recipe import bundle_recipe
from transeg.evaluation.rows import read_dice
from transeg.files import EVALUATION

from benchmarks.results import ROOT, write_result
from benchmarks.run import install_weights, log_of, run_bundle, train
from data_prep.mmwhs import prepare

BUNDLE = ROOT / "bundles" / "cardiac_ct_mr_segmentation"
CONFIGS = BUNDLE / "configs"
MODALITIES = ("ct", "mr")
OVERLAYS = {
    "real only": ["baselines/real_only.json"],
    "without shape consistency": ["baselines/no_shape.json"],
    "ADA": ["baselines/ada.json"],
}
TRANSLATORS = ("without shape consistency", "ours")
Scores = dict[str, list[float]]  # Dice of each test volume, by region and "mean"


class Schedule(NamedTuple):
    """Epochs of segmenters alone, of generators and discriminators alone, and of the last phase."""

    segmenters: int
    generators: int
    rest: int

    @classmethod
    def of(cls, epochs: int | None = None) -> Schedule:
        """Divide a number of epochs, by default the bundle's, as the bundle's config does."""
        parser = ConfigParser()
        parser.read_config(CONFIGS / "train.json")
        if epochs:
            parser["epochs"] = epochs
        segmenters, generators = (
            parser.get_parsed_content(f"{phase}_epochs") for phase in ("segmenter", "translation")
        )
        return cls(segmenters, generators, parser["epochs"] - segmenters - generators)


class Runs:
    """Training and evaluation runs of one seed on prepared volumes.

    Args:
        data: folder of prepared volumes.
        work: folder for weights, logs and scores.
        seed: random seed.
        schedule: epochs of each phase.
    """

    def __init__(self, data: Path, work: Path, seed: int, schedule: Schedule) -> None:
        self.data, self.work, self.seed, self.schedule = data, work, seed, schedule

    def folder(self, method: str) -> Path:
        """Train a method, and first its pre-training, unless finished; its run folder."""
        if method == "ADA":
            start = ["--start", self.folder("without shape consistency")]
            return self._train(method, None, [0, 0, self.schedule.rest], *start)
        if method == "real only":
            return self._train(method, self._pretrained(1), [self.schedule.segmenters, 0, self.schedule.rest])
        return self._train(method, self._pretrained(2), self.schedule)

    def _pretrained(self, phases: int) -> Path:
        """Run folder of the pre-training shared by several runs, the first phase or both; they resume from it."""
        begin = self._pretrained(1) if phases == 2 else None
        until = ["--train#trainer#max_epochs", sum(self.schedule[:phases])]
        return self._train(f"pretrained {phases}", begin, self.schedule, *until)

    def _train(self, name: str, begin: Path | None, epochs: Sequence[int], *more: object) -> Path:
        folder = self.work / f"{self.data.name}_{name.replace(' ', '_')}_{self.seed}"
        if begin is not None and not (folder / STATE).is_file():
            shutil.copytree(begin, folder, ignore=shutil.ignore_patterns("done", "logs"), dirs_exist_ok=True)
        if not (folder / "done").is_file():
            files = ["train.json", *OVERLAYS.get(name, [])]
            length = ["--epochs", sum(epochs), "--segmenter_epochs", epochs[0], "--translation_epochs", epochs[1]]
            options = ["--dataset_dir", self.data, *length, "--seed", self.seed, *more]
            train(CONFIGS, files, folder, *options, log=log_of(folder))
            (folder / "done").touch()
        return folder

    def dice(self, method: str, modality: str) -> Scores:
        """Dice of a method's segmenter of a modality on the test volumes."""
        return self._evaluate(method, modality, "dice", [])

    def s_score(self, method: str, modality: str, scorer: Path) -> Scores:
        """Dice of a run's segmenter on translations to a modality, of test volumes of the other one."""
        source = MODALITIES[1 - MODALITIES.index(modality)]
        return self._evaluate(method, source, "s_score", ["s_score.json"], "--scorer_run", scorer)

    def _evaluate(self, method: str, modality: str, name: str, overlays: list[str], *more: object) -> Scores:
        folder = self.folder(method)
        test = folder / f"{name}_{modality}"
        path = test / EVALUATION[0]
        if not path.is_file():
            files = ["inference.json", "evaluate.json", *overlays]
            where = ["--dataset_dir", self.data, "--output_dir", test]
            options = [
                *where,
                "--modality",
                modality,
                "--centre",
                "label",
                *more,
            ]  # hearts are centred, as in the paper
            run_bundle("evaluating", folder / "configs", files, *options, log=log_of(folder))
        return read_scores(path)


def read_scores(path: Path) -> Scores:
    """Dice of each region and their mean, from the table of an evaluation."""
    found = read_dice(path)
    return {**found, "mean": np.nanmean([*found.values()], axis=0).tolist()}


def score_seed(data: dict[str, Path], work: Path, seed: int, schedule: Schedule) -> dict[str, Any]:
    """Both tables of one seed; modality to method to `Scores`."""
    full = Runs(data["full"], work, seed, schedule)
    scorer = full.folder("real only")
    found: dict[str, Any] = {
        "s_score": {m: {method: full.s_score(method, m, scorer) for method in TRANSLATORS} for m in MODALITIES},
        "all_real": {m: {method: full.dice(method, m) for method in ("real only", "ours")} for m in MODALITIES},
        "few_real": {},
    }
    for modality in MODALITIES:
        few = Runs(data[modality], work, seed, schedule)
        methods = ("real only", "ADA", "ours")
        found["few_real"][modality] = {method: few.dice(method, modality) for method in methods}
    return found


def over_seeds(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Replace `Scores` with mean and standard deviation over seeds of the mean over test volumes."""
    first = seeds[0]
    if "mean" not in first:
        return {key: over_seeds([seed[key] for seed in seeds]) for key in first}
    means = [statistics.mean(seed["mean"]) for seed in seeds]
    return {"mean": statistics.mean(means), "std": statistics.stdev(means) if len(means) > 1 else 0.0, "seeds": means}


def gap_closed(table: dict[str, Any], modality: str) -> float:
    """Fraction of the gap between ADA with few real volumes and all real volumes that ours closes (section 5.4)."""
    few, everything = table["few_real"][modality], table["all_real"][modality]
    start = few["ADA"]["mean"]
    return (few["ours"]["mean"] - start) / (everything["real only"]["mean"] - start)


def volume_grid() -> dict[str, Any]:
    """Voxel size and size of the volumes in the bundle's recipe."""
    recipe = bundle_recipe(BUNDLE)
    return {"pixdim": recipe["pixdim"], "size": tuple(recipe["image_size"])}


def make_data(raw: Path, work: Path, share: float, validation: int, test: int) -> dict[str, Path]:
    """Volumes of the default size, prepared with all real ones, and with few of each modality; same patients."""
    folders = {"full": work / "full"} | {m: work / f"few_{m}" for m in MODALITIES}
    for name, folder in folders.items():
        if not (folder / "datalist.json").is_file():
            few: dict[str, Any] = {} if name == "full" else {"real_fraction": share, "fraction_of": name}
            prepare(raw, folder, validation=validation, test=test, **volume_grid(), **few)
    return folders


app = typer.Typer(add_completion=False)


@app.command()
def main(
    raw: Annotated[Path, typer.Option(help="Phantoms from data_prep.phantoms, or MM-WHS.")],
    work: Annotated[Path, typer.Option(help="Folder for prepared volumes, weights, logs and scores.")],
    seeds: Annotated[int, typer.Option(help="Number of random seeds.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Number of epochs; default as in the bundle.")] = None,
    share: Annotated[float, typer.Option(help="Fraction of the real training volumes, where few are used.")] = 0.14,
    validation: Annotated[int, typer.Option(help="Number of patients per modality.")] = 4,
    test: Annotated[int, typer.Option(help="Number of patients per modality.")] = 30,
    jobs: Annotated[int, typer.Option(help="Seeds run in parallel, one thread each.")] = 1,
    install: Annotated[bool, typer.Option(help="Copy the weights of seed 0 into the bundle.")] = False,
) -> None:
    """Train and score all methods with every seed and write the result."""
    data = make_data(raw, work, share, validation, test)
    settings = json.loads((CONFIGS / "train.json").read_text()) | bundle_recipe(BUNDLE)
    schedule = Schedule.of(epochs)
    with ThreadPoolExecutor(jobs) as pool:
        found = list(pool.map(lambda seed: score_seed(data, work, seed, schedule), range(seeds)))
    table = over_seeds(found)
    lists = {name: folder / "datalist.json" for name, folder in data.items()}
    counts = {name: {m: len(read_datalist(path, f"training_{m}")) for m in MODALITIES} for name, path in lists.items()}
    figures = {
        "over_seeds": table,
        "gap_closed": {m: gap_closed(table, m) for m in MODALITIES},
        "runs": found,
        "share": share,
        "training_volumes": counts,
        "test_volumes": test,
        "epochs": schedule._asdict(),
        "updates_per_epoch": settings["batches_per_epoch"],
        "size": {key: settings[key] for key in ("image_size", "pixdim", "width", "batch_size")},
    }
    print(json.dumps(table, indent=1))
    print(write_result("cardiac_phantoms", "heart phantoms", list(range(seeds)), figures))
    if install:
        install_weights(Runs(data["full"], work, 0, schedule).folder("ours"), BUNDLE)


if __name__ == "__main__":
    app()
