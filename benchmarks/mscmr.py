"""Hearts of patients in two MR contrasts: late enhancement (LGE) segmented without labels of its own.

MS-CMRSeg 2019: balanced SSFP (C0) with labels, LGE without, of different patients where they are used for training; the
two scans of a patient are in one split. Compared are the segmenter of C0 applied to LGE as it is, and to LGE whose
histogram is matched to C0, and that segmenter with strong augmentation; the cycle- and shape-consistent training of the
bundle, without and with strong augmentation; a mean shape of the training labels, which needs no image; and, as a
ceiling, segmenters trained with the labels of both. Scored are the masks on disk of whole LGE test scans. Draws differ
in the split and the seed. Training runs that are done are not repeated, and those that were interrupted go on.

    python -m benchmarks.mscmr MSCMR WORK --at-once 2
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer
from transeg.data.datalist import read_datalist
from transeg.metrics.overlap import dice
from transeg.metrics.statistics import paired_difference
from transeg.transforms.preprocessing import label_loading

from benchmarks.lgg import Add, Name, Settings, settings_of
from benchmarks.results import ROOT, earlier_scores, write_result
from benchmarks.side_by_side import Training, segment, train
from data_prep.mscmr import RECIPE

BUNDLE = ROOT / "bundles" / "cardiac_ct_mr_segmentation"
SIZE = (64, 64, 16)
REGIONS = RECIPE["labels"][1:]
REAL_ONLY, STRONG = ["baselines/real_only.json"], ["strong_augmentation.json"]
# overlays, settings, and whether the labels of LGE are known; without them, no label chooses an epoch for LGE
NETWORKS: dict[str, tuple[list[str], dict[str, object], bool]] = {
    "C0 only": (REAL_ONLY, {}, False),
    "C0 only, augmented": (REAL_ONLY + STRONG, {}, False),
    "ours": ([], {"save_last": True}, False),
    "ours, augmented": (STRONG, {"save_last": True}, False),
    "both": (REAL_ONLY, {}, True),
}
SHAPE, CEILING = "mean shape", "labels of LGE"
PLAIN, MATCHED, AUGMENTED = "as it is", "histogram matched", "strong augmentation"
OWN, OWN_AUGMENTED = "ours", "ours, strong augmentation"
Scores = dict[str, dict[str, list[float]]]  # Dice by method and patient, of each region


def prepare(scans: Path, out: Path, seed: int, test: float, *options: object) -> Path:
    """Prepared volumes of a draw."""
    if not (out / "datalist.json").is_file():
        own = ("--size", *SIZE, "--validation", 0.15, "--test", test, "--seed", seed, "--workers", os.cpu_count() or 1)
        command = ["-m", "data_prep.mscmr", "--data", scans, "--out", out, *own, *options]
        subprocess.run([sys.executable, *map(str, command)], check=True)
    return out


def read_labels(item: Mapping[str, Any]) -> np.ndarray:
    """Classes (X, Y, Z) of a scan as published, on its grid."""
    return np.asarray(label_loading(RECIPE, "label", like="image")(dict(item))["label"][0]).astype(np.uint8)


def mean_shape(known: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Most frequent class at each place of the classes of labelled scans, all stretched to one shape (X, Y, Z)."""
    counts = np.zeros((len(RECIPE["labels"]), *shape))
    for labels in known:
        index = np.ix_(*(np.arange(n) * m // n for n, m in zip(shape, labels.shape, strict=True)))
        for k in range(len(counts)):
            counts[k] += labels[index] == k
    return counts.argmax(axis=0)


def tabulate(files: Mapping[str, Path], folder: Path) -> Path:
    """Write a table of scans by case, which says nothing of their contrast."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", "image"), *((case, path.absolute()) for case, path in files.items())])
    return folder


def match(items: Sequence[Mapping[str, Any]], references: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write scans with their histogram matched to that of others, and a table of them."""
    ranks = np.linspace(0, 1, 257)
    wanted = np.mean([np.quantile(_volume(item), ranks) for item in references], axis=0)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for item in items:
        image = nib.Nifti1Image.from_filename(_file(item))
        voxels = np.asarray(image.dataobj, np.float32)
        matched = np.interp(voxels, np.quantile(voxels, ranks), wanted).astype(np.float32)
        path = folder / f"{item['case']}.nii.gz"
        nib.save(nib.Nifti1Image(matched, image.affine, image.header), path)
        files[item["case"]] = path
    return tabulate(files, folder)


def _file(item: Mapping[str, Any]) -> Path:
    return Path(item["image"] if isinstance(item["image"], str) else item["image"][0])


def _volume(item: Mapping[str, Any]) -> np.ndarray:
    return np.asarray(nib.Nifti1Image.from_filename(_file(item)).dataobj, np.float32)


def score(mask: np.ndarray, labels: np.ndarray) -> list[float]:
    """Dice of each region."""
    return [dice(mask == k, labels == k) for k in range(1, len(REGIONS) + 1)]


class Draw:
    """One split of the patients, with the runs trained on it.

    Args:
        scans: folder of the scans.
        work: folder for data, runs and masks.
        seed: of split and training.
        test: fraction of the patients to test on.
        settings: of all trainings.
    """

    def __init__(self, scans: Path, work: Path, seed: int, test: float, settings: Mapping[str, str]) -> None:
        self.work, self.seed, self.settings = work, seed, settings
        self.data = {
            True: prepare(scans, work / "data_both", seed, test),
            False: prepare(scans, work / "data_c0", seed, test, "--unlabelled-domain", "lge"),
        }
        self.runs = {name: work / name.replace(", ", "_").replace(" ", "_") for name in NETWORKS}
        self.items, self.c0 = (
            read_datalist(self.data[False] / "datalist.json", name)
            for name in ("test_lge_volumes", "training_c0_volumes")
        )

    def trainings(self) -> list[Training]:
        """One for each network."""
        return [
            Training(self.runs[name], BUNDLE, self.data[known], overlays, {"seed": self.seed, **own, **self.settings})
            for name, (overlays, own, known) in NETWORKS.items()
        ]

    def jobs(self) -> dict[Path, tuple[Path, Path, str]]:
        """Folder of masks to run, scans, and the contrast as which they are segmented."""
        plain = tabulate({item["case"]: _file(item) for item in self.items}, self.work / "plain")
        matched = match(self.items, self.c0, self.work / "matched")
        found = {
            PLAIN: (self.runs["C0 only"], plain, "c0"),
            MATCHED: (self.runs["C0 only"], matched, "c0"),
            AUGMENTED: (self.runs["C0 only, augmented"], plain, "c0"),
            OWN: (self.runs["ours"], self.data[False], "lge"),
            OWN_AUGMENTED: (self.runs["ours, augmented"], self.data[False], "lge"),
            CEILING: (self.runs["both"], self.data[True], "lge"),
        }
        return {self.masks(method): job for method, job in found.items()}

    def masks(self, method: str) -> Path:
        """Folder of the masks of a method."""
        return self.work / "masks" / method.replace(", ", "_").replace(" ", "_")

    def score(self) -> Scores:
        """Dice of the masks on disk, and of the mean shape."""
        known = [read_labels(item) for item in self.c0]
        scores: Scores = {}
        for item in self.items:
            labels, case = read_labels(item), item["case"]
            scores.setdefault(SHAPE, {})[case] = score(mean_shape(known, labels.shape), labels)
            for method in (PLAIN, MATCHED, AUGMENTED, OWN, OWN_AUGMENTED, CEILING):
                mask = np.asarray(nib.Nifti1Image.from_filename(self.masks(method) / f"{case}_seg.nii.gz").dataobj)
                scores.setdefault(method, {})[case] = score(mask, labels)
        return scores


def summary(draws: Mapping[int, Scores]) -> dict[str, Any]:
    """Means by method and region, and by draw; differences on the same scans of the same draws."""
    figures: dict[str, Any] = {}
    values: dict[str, np.ndarray] = {}
    for method in next(iter(draws.values())):
        by_draw = [np.array([*scores[method].values()]) for scores in draws.values()]
        every = np.concatenate(by_draw)
        values[method] = every.mean(axis=1)
        figures[method] = {
            "mean": round(float(every.mean()), 3),
            **{name: round(float(value), 3) for name, value in zip(REGIONS, every.mean(axis=0), strict=True)},
            "draws": [round(float(part.mean()), 3) for part in by_draw],
        }
    others = [method for method in values if method not in (OWN, OWN_AUGMENTED)]
    figures["difference"] = {
        f"{own} - {other}": paired_difference(values[own].tolist(), values[other].tolist())
        for own in (OWN, OWN_AUGMENTED)
        for other in others
        if own in values
    }
    return figures


def main(
    scans: Annotated[Path, typer.Argument(help="Folder of the scans, patient10_C0.nii.gz and so on.")],
    work: Annotated[Path, typer.Argument(help="Folder for data, runs and masks.")],
    draws: Annotated[int, typer.Option(help="Draws of split and seed.")] = 3,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    test: Annotated[float, typer.Option(help="Fraction of the patients to test on.")] = 0.35,
    minutes: Annotated[float, typer.Option(help="Most time of each training run.")] = 10_000,
    at_once: Annotated[int, typer.Option(help="Runs at a time; 0: all.")] = 1,
    name: Name = "mscmr",
    option: Settings = None,
    add: Add = False,
) -> None:
    """Train, segment, score and write the result."""
    settings = settings_of(option)
    same = {"size": list(SIZE), "settings": settings}
    numbers = range(first, first + draws)
    drawn = {seed: Draw(scans, work / f"draw_{seed}", seed, test, settings) for seed in numbers}
    train([training for draw in drawn.values() for training in draw.trainings()], minutes, at_once)
    jobs = {out: job for draw in drawn.values() for out, job in draw.jobs().items()}
    segment(
        {out: (run, data) for out, (run, data, _) in jobs.items()},
        at_once,
        {out: ["--modality", modality, "--split", "['test_lge_volumes']"] for out, (_, _, modality) in jobs.items()},
    )
    found = {seed: draw.score() for seed, draw in drawn.items()}
    if add:
        found = {int(seed): scores for seed, scores in earlier_scores(name, same).items()} | found
    found = dict(sorted(found.items()))
    figures = summary(found) | same
    rounded = {
        seed: {method: {case: np.round(v, 3).tolist() for case, v in by.items()} for method, by in scores.items()}
        for seed, scores in found.items()
    }
    print({method: figures[method] for method in next(iter(found.values()))}, figures["difference"])
    print(write_result(name, "MS-CMRSeg 2019, C0 with and LGE without labels", [*found], figures | {"scores": rounded}))


if __name__ == "__main__":
    typer.run(main)
