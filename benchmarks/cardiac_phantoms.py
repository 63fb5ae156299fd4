"""Tables 1 and 2 of Zhang et al. 2018 on phantoms, and its gap analysis, with every seed.

Table 1: S-score, the Dice that segmenters trained on real volumes alone reach on translations of test volumes, by
generators that were trained with shape consistency (all players together) and without. Table 2: Dice of segmenters of
a modality of which few real volumes are known (14 % in the paper; all of the other one): trained on real volumes
alone, on translations made by fixed generators as well (ADA), and together with the generators (ours). The gap is that
of ADA to all real volumes, of which ours closes a share.

All go through the bundle's configs and, as in the paper, begin with the same segmenters, and generators, that were
trained alone. Segmenters have the same number of epochs in every row, generators in both, unless patience ends them;
weights are the best in validation (real only: of all epochs; without shape consistency: the last). Parts that are done
are not repeated.

    python -m data_prep.phantoms heart --out RAW --cases 60
    python -m benchmarks.cardiac_phantoms --raw RAW --work WORK --install
"""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from monai.bundle import ConfigParser
from transeg.data.datalist import read_datalist
from transeg.methods.cardiac.preprocessing import HEART_CLASSES

from benchmarks.results import ROOT, write_result
from benchmarks.run import install_weights, run_bundle
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
Scores = dict[str, list[float]]  # region, and "mean", to the Dice of each test volume


class Schedule(NamedTuple):
    """Epochs of segmenters alone, of generators and discriminators alone, and of what follows."""

    segmenters: int
    generators: int
    rest: int

    @classmethod
    def of(cls, epochs: int | None = None) -> Schedule:
        """As the bundle's config shares out so many epochs, or its own."""
        parser = ConfigParser()
        parser.read_config(CONFIGS / "train.json")
        if epochs:
            parser["epochs"] = epochs
        alone = [parser.get_parsed_content(f"{phase}_epochs") for phase in ("segmenter", "translation")]
        return cls(*alone, parser["epochs"] - sum(alone))


class Runs:
    """Trainings and evaluations of one seed on prepared volumes.

    Args:
        data: folder of prepared volumes.
        work: folder for weights, logs and scores.
        seed: of the trainings.
        schedule: of the trainings.
    """

    def __init__(self, data: Path, work: Path, seed: int, schedule: Schedule) -> None:
        self.data, self.work, self.seed, self.schedule = data, work, seed, schedule

    def weights(self, method: str) -> Path:
        """Train a method, after what it begins with, unless that is done."""
        if method == "ADA":
            start = ["--start", self.weights("without shape consistency")]
            return self._train(method, None, [0, 0, self.schedule.rest], *start)
        if method == "real only":
            return self._train(method, self._pretrained(1), [self.schedule.segmenters, 0, self.schedule.rest])
        return self._train(method, self._pretrained(2), self.schedule)

    def _pretrained(self, phases: int) -> Path:
        """Folder of what several trainings begin with: the first phase, or both; any of them resumes it."""
        begin = self._pretrained(1) if phases == 2 else None
        until = ["--train#trainer#max_epochs", sum(self.schedule[:phases])]
        return self._train(f"pretrained {phases}", begin, self.schedule, *until).parent

    def _train(self, name: str, begin: Path | None, epochs: Sequence[int], *more: object) -> Path:
        folder = self.work / f"{self.data.name}_{name.replace(' ', '_')}_{self.seed}"
        if begin is not None and not folder.is_dir():
            folder.mkdir()
            for file in ("model.pt", "train_state.pt"):
                shutil.copy(begin / file, folder)
        if not (folder / "done").is_file():
            files = [CONFIGS / file for file in ("train.json", *OVERLAYS.get(name, []))]
            places = ["--dataset_dir", self.data, "--output_dir", folder, "--ckpt_dir", folder, "--resume", True]
            length = ["--epochs", sum(epochs), "--segmenter_epochs", epochs[0], "--translation_epochs", epochs[1]]
            run_bundle("training", files, *places, *length, "--seed", self.seed, *more, log=folder / "log.txt")
            (folder / "done").touch()
        return folder / "model.pt"

    def dice(self, method: str, modality: str) -> Scores:
        """Dice of a method's segmenter of a modality on the test volumes."""
        return self._evaluate(method, modality, "dice", [])

    def s_score(self, method: str, modality: str, judge: Path) -> Scores:
        """Dice on translations to a modality, of the test volumes of the other one, by the judge's segmenter."""
        source = MODALITIES[1 - MODALITIES.index(modality)]
        return self._evaluate(method, source, "s_score", [CONFIGS / "s_score.json"], "--judge_path", judge)

    def _evaluate(self, method: str, modality: str, name: str, overlays: list[Path], *more: object) -> Scores:
        weights = self.weights(method)
        test = weights.parent / f"{name}_{modality}"
        path = test / "val_mean_dice_raw.csv"
        if not path.is_file():
            files = [CONFIGS / "inference.json", CONFIGS / "evaluate.json", *overlays]
            places = ["--dataset_dir", self.data, "--output_dir", test, "--handlers#0#path", weights]
            run_bundle("evaluating", files, *places, "--modality", modality, *more, log=weights.parent / "log.txt")
        return read_scores(path)


def read_scores(path: Path) -> Scores:
    """Dice of each region and their mean from a file that monai's MetricsSaver wrote."""
    with path.open() as file:
        rows = [[float(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]]
    return dict(zip((*HEART_CLASSES[1:], "mean"), map(list, zip(*rows, strict=True)), strict=True))


def score_seed(data: dict[str, Path], work: Path, seed: int, schedule: Schedule) -> dict[str, Any]:
    """Both tables of one seed; modality to method to `Scores`."""
    full = Runs(data["full"], work, seed, schedule)
    judge = full.weights("real only")
    found: dict[str, Any] = {
        "s_score": {m: {method: full.s_score(method, m, judge) for method in TRANSLATORS} for m in MODALITIES},
        "all_real": {m: {method: full.dice(method, m) for method in ("real only", "ours")} for m in MODALITIES},
        "few_real": {},
    }
    for modality in MODALITIES:
        few = Runs(data[modality], work, seed, schedule)
        methods = ("real only", "ADA", "ours")
        found["few_real"][modality] = {method: few.dice(method, modality) for method in methods}
    return found


def over_seeds(seeds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean over test volumes, and of that mean and standard deviation over seeds, in place of `Scores`."""
    first = seeds[0]
    if "mean" not in first:
        return {key: over_seeds([seed[key] for seed in seeds]) for key in first}
    means = [statistics.mean(seed["mean"]) for seed in seeds]
    return {"mean": statistics.mean(means), "std": statistics.stdev(means) if len(means) > 1 else 0.0, "seeds": means}


def gap_closed(table: dict[str, Any], modality: str) -> float:
    """Share of the gap between ADA with few real volumes and all real volumes that ours closes (section 5.4)."""
    few, everything = table["few_real"][modality], table["all_real"][modality]
    start = few["ADA"]["mean"]
    return (few["ours"]["mean"] - start) / (everything["real only"]["mean"] - start)


def volume_grid() -> dict[str, Any]:
    """Voxel size and size of the volumes of the default configs."""
    config = json.loads((CONFIGS / "inference.json").read_text())
    return {"pixdim": config["pixdim"], "size": tuple(config["image_size"])}


def make_data(raw: Path, work: Path, share: float, validation: int, test: int) -> dict[str, Path]:
    """Prepared volumes of the default size: all real ones, and by modality few of it; the same patients throughout."""
    folders = {"full": work / "full"} | {m: work / f"few_{m}" for m in MODALITIES}
    for name, folder in folders.items():
        if not (folder / "datalist.json").is_file():
            few = {} if name == "full" else {"real_fraction": share, "fraction_of": name}
            prepare(raw, folder, validation=validation, test=test, **volume_grid(), **few)
    return folders


app = typer.Typer(add_completion=False)


@app.command()
def main(
    raw: Annotated[Path, typer.Option(help="Phantoms made by data_prep.phantoms, or MM-WHS.")],
    work: Annotated[Path, typer.Option(help="Folder for prepared volumes, weights, logs and scores.")],
    seeds: int = 3,
    epochs: Annotated[int | None, typer.Option(help="Default: the bundle's.")] = None,
    share: Annotated[float, typer.Option(help="Of the real training volumes, where there are few.")] = 0.14,
    validation: Annotated[int, typer.Option(help="Patients of each modality.")] = 4,
    test: Annotated[int, typer.Option(help="Patients of each modality.")] = 30,
    jobs: Annotated[int, typer.Option(help="Seeds at a time, each on one thread.")] = 1,
    install: Annotated[bool, typer.Option(help="Copy the weights of seed 0 into the bundle.")] = False,
) -> None:
    """Train everything with every seed, score it and write the result."""
    data = make_data(raw, work, share, validation, test)
    train = json.loads((CONFIGS / "train.json").read_text())
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
        "updates_per_epoch": train["batches_per_epoch"],
        "size": {key: train[key] for key in ("image_size", "pixdim", "width", "batch_size")},
    }
    print(json.dumps(table, indent=1))
    print(write_result("cardiac_phantoms", "heart phantoms", list(range(seeds)), figures))
    if install:
        install_weights(Runs(data["full"], work, 0, schedule).weights("ours"), BUNDLE)


if __name__ == "__main__":
    app()
