"""Few masks of real patients: TCGA-LGG, the patients of whom all three sequences are known, and the masks of a few.

GenSeg, the same network trained on the masks alone, and a U-Net as nnU-Net would set it up on the same masks, side by
side and for the same time, with several draws of the patients whose masks are known. Half-slices without a tumour count
as labelled-empty for all. Without a network: the threshold on FLAIR and the classifier of voxels that are best on the
masks known. The masks of validation patients choose the weights "best", and nothing of the weights "last"; the curve
over the training is scored on them. The table scores the written masks of whole test patients, which are the same in
all draws.

    python -m benchmarks.gpu.pack pack KAGGLE_3M SLICES.zip
    python -m benchmarks.gpu.pack unpack SLICES.zip SLICES
    python -m benchmarks.lgg_few_masks SLICES WORK --minutes 60 --width 4
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from transeg.bundle.runs import WEIGHTS
from transeg.data.datalist import read_datalist
from transeg.metrics.overlap import dice
from transeg.metrics.statistics import paired_difference
from transeg.metrics.threshold import best_threshold

from benchmarks import lgg
from benchmarks.lgg import (
    DATA,
    GENSEG,
    Name,
    Scans,
    Settings,
    Slices,
    Test,
    Validation,
    Work,
    read_flair,
    read_reference,
    read_scan,
    settings_of,
)  # fmt: skip
from benchmarks.results import read_mask, read_result, write_result
from benchmarks.side_by_side import WRITE_CURVE, Training, read_curve, segment, train
from benchmarks.voxels import VoxelClassifier

ALONE = ["baselines/segmentation_only.json"]
UNET = "U-Net"
METHODS = {"segmentation only": ALONE, UNET: [*ALONE, "baselines/segmentation_only_unet.json"], "GenSeg": []}
SHOWN = ("mean", "median", "draws", "difference")
LAST = WEIGHTS.with_name("last.pt")


def prepare(slices: Path, work: Path, masks: int, draws: int, validation: int, test: int) -> list[Path]:
    """Prepared data of each draw: the split is that of all; only the masks of some training patients are known."""
    everything = lgg.prepare(slices, work / "data", GENSEG, validation, test, "--halves")
    datalist = json.loads((everything / "datalist.json").read_text())
    patients = sorted({item["case"] for item in datalist["training"]})
    folders = []
    for draw in range(draws):
        known = np.random.default_rng(draw).choice(patients, masks, replace=False).tolist()
        training = [item if item["case"] in known else _without_label(item) for item in datalist["training"]]
        folder = work / f"data_{draw}"  # beside the other: paths in a datalist are relative to it
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("images", "labels"):
            if not (folder / name).exists():
                (folder / name).symlink_to((everything / name).resolve())
        (folder / "datalist.json").write_text(json.dumps({**datalist, "training": training, "known": known}))
        folders.append(folder)
    return folders


def _without_label(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "label"}


def training(data: Path, run: Path, method: str, seed: int, options: Mapping[str, object]) -> Training:
    """A training run, which also keeps its last weights and the curve of its validation."""
    own = {key: value for key, value in options.items() if method != UNET or not key.startswith("network_def#")}
    last = {"_target_": "transeg.engines.weights.BestModelSaver", "network": "@export_network"}
    return Training(
        run,
        GENSEG,
        data,
        [*METHODS[method], "averaged.json"],
        {"seed": seed, "epochs": 10_000, **own},
        [{**last, "path": f"$@run_dir + '/{LAST}'"}],
        [WRITE_CURVE],
    )


def known_patients(folder: Path) -> tuple[list[str], Scans, Scans]:
    """Names of the patients whose masks a draw knows, their items, and those of the other training patients."""
    known = json.loads((folder / "datalist.json").read_text())["known"]
    items = read_datalist(folder / "datalist.json", "training_volumes")
    return known, *([item for item in items if (item["case"] in known) == with_mask] for with_mask in (True, False))


def threshold_masks(folder: Path, tests: Scans) -> list[np.ndarray]:
    """Masks by the threshold on FLAIR that is best on the masks of a draw."""
    _, items, _ = known_patients(folder)
    limit = best_threshold([read_flair(item) for item in items], [read_reference(item) for item in items])
    return [read_flair(item) > limit for item in tests]


def voxel_masks(folder: Path, tests: Scans) -> list[np.ndarray]:
    """Masks by a classifier of voxels, from the masks of a draw and the empty slices of the other patients."""
    _, items, others = known_patients(folder)
    classifier = VoxelClassifier(
        [read_scan(item) for item in items],
        [read_reference(item) for item in items],
        [read_scan(item) for item in others],
        [np.asarray(~read_reference(item).any((0, 1))) for item in others],
    )
    return [classifier(read_scan(item)) for item in tests]


WITHOUT_NETWORK = {"threshold": threshold_masks, "voxel classifier": voxel_masks}


def main(
    slices: Slices,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Time of each training run.")] = 60,
    width: int = 16,
    masks: Annotated[int, typer.Option(help="Training patients whose masks are known.")] = 4,
    draws: Annotated[int, typer.Option(help="Draws of these patients, each with a seed of its own.")] = 3,
    validation: Validation = 8,
    test: Test = 16,
    precision: Annotated[str, typer.Option(help="bf16, or nothing.")] = "",
    name: Name = "lgg_few_masks",
    beside: Annotated[
        str, typer.Option(help="Score what needs no network, beside the result of this name with the same draws.")
    ] = "",
    option: Settings = None,
) -> None:
    """Train both methods with each draw at once, and score the masks that they write."""
    folders = prepare(slices, work, masks, draws, validation, test)
    if beside:
        score_without_networks(name, beside, folders, work)
        return
    settings = {"width": width, "batches_per_epoch": 50, **settings_of(option)}
    if precision:
        settings["precision"] = precision
    runs = {(method, k): work / f"draw_{k}" / method.replace(" ", "_") for method in METHODS for k in range(draws)}
    train([training(folders[k], run, method, k, settings) for (method, k), run in runs.items()], minutes)
    choices = {"last": LAST, "best": WEIGHTS}
    outs = {(*key, choice): runs[key].with_name(f"{runs[key].name}_{choice}") for key in runs for choice in choices}
    segment(
        {out: (runs[method, k], folders[k]) for (method, k, _), out in outs.items()},
        options={
            out: ["--handlers#0#path", runs[method, k] / choices[choice]] for (method, k, choice), out in outs.items()
        },
    )

    items, score = test_patients(work)
    found = {"threshold": [score(threshold_masks(folder, items)) for folder in folders]}
    for method in METHODS:
        for choice in choices:
            written = [outs[method, k, choice] for k in range(draws)]
            found[f"{method}, {choice}"] = [
                score([read_mask(out / f"{item['case']}_seg.nii.gz") for item in items]) for out in written
            ]
    write(name, work, found, {"minutes": minutes, "masks": masks, **settings}, runs)


def test_patients(work: Path) -> tuple[Scans, Callable[[Sequence[np.ndarray]], list[float]]]:
    """Items of the test patients, and what scores their masks: Dice of each."""
    items = read_datalist(work / "data" / "datalist.json", "test_volumes")
    references = [read_reference(item) for item in items]
    return items, lambda masks: [dice(mask, own) for mask, own in zip(masks, references, strict=True)]


def score_without_networks(name: str, beside: str, folders: Sequence[Path], work: Path) -> None:
    """Write the scores of what needs no network, and how far an earlier result with the same draws is ahead.

    Raises:
        ValueError: the earlier result has other draws.
    """
    earlier = read_result(beside)["figures"]
    if earlier["known"] != [known_patients(folder)[0] for folder in folders]:
        raise ValueError(f"{beside} has other draws")
    items, score = test_patients(work)
    found = {method: [score(segment(f, items)) for f in folders] for method, segment in WITHOUT_NETWORK.items()}
    figures = summary(found, earlier["dice"] | found)
    print(json.dumps({key: figures[key] for key in SHOWN}, indent=1))
    print(write_result(name, DATA, [*range(len(folders))], {"beside": beside, **figures}))


def summary(found: Mapping[str, list[list[float]]], every: Mapping[str, list[list[float]]]) -> dict[str, Any]:
    """Figures of methods from the Dice of each patient in each draw, and how far GenSeg is ahead of the others.

    Args:
        found: Dice by method.
        every: the same, perhaps with those of an earlier result.
    """
    mean = {method: np.mean(dices, axis=0) for method, dices in every.items()}
    return {
        "mean": {method: round(float(mean[method].mean()), 3) for method in found},
        "median": {method: round(float(np.median(mean[method])), 3) for method in found},
        "draws": {method: np.mean(dices, axis=1).round(3).tolist() for method, dices in found.items()},
        "difference": {
            f"{method} - {other}": paired_difference(mean[method], mean[other])
            for method in every
            if method.startswith("GenSeg")
            for other in found
            if not other.startswith("GenSeg")
        },
        "dice": {method: np.round(dices, 3).tolist() for method, dices in found.items()},
    }


def write(
    name: str, work: Path, found: Mapping[str, list[list[float]]], settings: Mapping[str, Any], runs: Mapping
) -> None:
    """Write the result: Dice of each patient and draw, paired differences of their means, and the curves."""
    datalist = json.loads((work / "data" / "datalist.json").read_text())
    figures: dict[str, Any] = {
        "settings": dict(settings),
        "kept": datalist["preparation"]["kept"],
        "known": [
            json.loads((work / f"data_{k}" / "datalist.json").read_text())["known"]
            for k in range(len(found["threshold"]))
        ],
        **summary(found, found),
        "curves": {f"{method}, draw {k}": read_curve(run) for (method, k), run in runs.items()},
    }
    print(json.dumps({key: figures[key] for key in SHOWN}, indent=1))
    print(write_result(name, DATA, [*range(len(found["threshold"]))], figures))


if __name__ == "__main__":
    typer.run(main)
