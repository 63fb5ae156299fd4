"""Muscle of real limbs with simulated infiltration: T1w MR of soft-tissue sarcoma, slices without the tumour.

The easy domain are limbs as they are; the hard one are limbs of other patients, in whose muscle fat is simulated
(`benchmarks.infiltration`). Patients are drawn into folds; each is tested once, as a severe case, by networks that were
trained on the others. Those on whom the settings were chosen are trained on and never tested. Nobody sees a mask.
Scored is what the bundle writes for whole test scans, for a CycleGAN with and without the domain loss and for one that
adds to the image, beside what needs no training: the mixture on the original scan and its convex hull. Inside the
fascia (the hull of the true muscle) muscle must be told from bone, vessels and fat between the muscles.

Repetitions draw other folds, domains and seeds; the simulated test scans are the same in all of them. Training runs
that are done are not repeated, and those that were interrupted go on.

    python -m benchmarks.sts_thigh STS WORK --at-once 2
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer
from transeg.data.datalist import read_datalist
from transeg.methods.thigh.compartment import muscle_compartment
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import silhouette
from transeg.metrics.statistics import paired_difference

from benchmarks.infiltration import find_muscle, infiltrate
from benchmarks.lgg import Name, Settings, settings_of
from benchmarks.results import ROOT, read_mask, write_result
from benchmarks.run import run_bundle
from benchmarks.side_by_side import Training, segment, train

BUNDLE = ROOT / "bundles" / "thigh_mri_muscle_segmentation"
# first and last slice, from below, that show the shaft of a limb without the tumour; chosen by eye
SLICES = {
    "STS_001": (0, 11),
    "STS_005": (63, 70),
    "STS_010": (0, 15),
    "STS_012": (0, 15),
    "STS_016": (61, 70),
    "STS_022": (0, 15),
    "STS_024": (0, 7),
    "STS_029": (0, 11),
    "STS_033": (45, 52),
    "STS_034": (7, 15),
    "STS_036": (0, 13),
    "STS_040": (44, 50),
    "STS_043": (0, 8),
    "STS_045": (0, 11),
    "STS_048": (0, 15),
}
DEVELOPMENT = ("STS_010", "STS_029", "STS_036", "STS_043", "STS_045")
SETTINGS: dict[str, dict[str, object]] = {
    "G 0,1": {"w_r": 0.0, "residual": False},
    "G .5,1": {"w_r": 0.5, "residual": False},
    "residual": {"w_r": 0.5, "residual": True},
}
OWN = "residual"
ORIGINAL, HULL = "mixture on the original", "hull of it"
LEAN, FATTY = 0.1, 0.5  # fat fraction below and above


def read_limb(folder: Path, case: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices of a limb without its tumour, their muscle and their affine, in RAS."""
    scan = nib.as_closest_canonical(nib.Nifti1Image.from_filename(folder / case / "MR_T1_image.nii.gz"))
    first, last = SLICES[case]
    part = scan.slicer[:, :, first : last + 1]
    image = np.asarray(part.dataobj, np.float32)
    return image, find_muscle(image, part.header.get_zooms()), np.asarray(part.affine)


def simulate(image: np.ndarray, muscle: np.ndarray, affine: np.ndarray, case: str, grade: str) -> Any:
    """The same scan with infiltration of a grade: of a patient and a grade, always the same."""
    seed = [list(SLICES).index(case), ("minor", "moderate", "severe").index(grade)]
    return infiltrate(image, muscle, nib.affines.voxel_sizes(affine), grade, np.random.default_rng(seed))


def draw_folds(seed: int, folds: int) -> list[dict[str, list[str]]]:
    """Cases of each fold: "test", "hard" and "easy"."""
    cases = np.random.default_rng(seed).permutation(list(SLICES)).tolist()
    tested = [case for case in cases if case not in DEVELOPMENT]
    drawn = []
    for k in range(folds):
        rest = [case for case in cases if case not in tested[k::folds]]
        drawn.append({"test": tested[k::folds], "hard": rest[::2], "easy": rest[1::2]})
    return drawn


def prepare(limbs: Path, folder: Path, fold: Mapping[str, Sequence[str]]) -> Path:
    """Write the scans of a fold by grade and prepare them for the bundle."""
    data = folder / "data"
    if (data / "datalist.json").is_file():
        return data
    raw = folder / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    grades = {"easy": ("healthy",), "hard": ("moderate", "severe"), "test": ("severe",)}
    for part, cases in fold.items():
        for case in cases:
            image, muscle, affine = read_limb(limbs, case)
            for grade in grades[part]:  # without a mask
                scan = image if grade == "healthy" else simulate(image, muscle, affine, case, grade).image
                (raw / grade).mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(scan, affine), raw / grade / f"{case}_{grade}.nii.gz")
    tests = ",".join(f"{case}_severe" for case in fold["test"])
    options = ("--size", 96, 96, "--validation", 0, "--test-cases", tests)
    command = ["-m", "data_prep.thigh", "--data", raw, "--out", data, *options]
    subprocess.run([sys.executable, *map(str, command)], check=True)
    return data


def score(found: np.ndarray, muscle: np.ndarray, fascia: np.ndarray, fat: np.ndarray) -> dict[str, float]:
    """Of a scan: Dice, sensitivity and specificity inside the fascia, and the parts of lean and fatty muscle found."""
    return {
        "dice": dice(found, muscle),
        "sensitivity": float(found[muscle & fascia].mean()),
        "specificity": float(1 - found[~muscle & fascia].mean()),
        "lean muscle found": float(found[muscle & (fat < LEAN)].mean()),
        "fatty muscle found": float(found[muscle & (fat > FATTY)].mean()),
    }


def score_fold(limbs: Path, masks: Mapping[str, Path], items: Sequence[Mapping[str, Any]]) -> dict[str, dict]:
    """Scores by method and patient of the masks on disk, with the hull of the mixture on the original."""
    scores: dict[str, dict] = {}
    for item in items:
        case = item["case"].removesuffix("_severe")
        image, muscle, affine = read_limb(limbs, case)
        hard, spacing = simulate(image, muscle, affine, case, "severe"), nib.affines.voxel_sizes(affine).tolist()
        body = silhouette(hard.image)
        found = {name: read_mask(folder / f"{item['case']}_seg.nii.gz") for name, folder in masks.items()}
        hull = muscle_compartment(found[ORIGINAL], body, spacing)
        found |= {HULL: hull} | {f"{name}, within the hull": found[name] & hull for name in SETTINGS}
        fascia = muscle_compartment(muscle, body, spacing)
        for name, mask in found.items():
            scores.setdefault(name, {})[case] = score(mask, muscle, fascia, hard.fat)
        for name in SETTINGS:
            volume = nib.Nifti1Image.from_filename(masks[name] / f"{item['case']}_translation.nii.gz")
            wrong = np.abs(np.asarray(volume.dataobj, np.float32) - image)[muscle].mean()
            scores[name][case]["error of the translation"] = float(wrong)
    return scores


def summary(repetitions: Sequence[Mapping[str, Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """Means over repetitions and patients by method, Dice by patient, and differences on the same patients."""
    methods, cases = list(repetitions[0]), sorted(repetitions[0][HULL])
    figures: dict[str, Any] = {}
    values: dict[str, dict[str, np.ndarray]] = {}
    for name in methods:
        keys = list(repetitions[0][name][cases[0]])
        by_patient = {key: [[one[name][case][key] for case in cases] for one in repetitions] for key in keys}
        values[name] = {key: np.mean(runs, axis=0) for key, runs in by_patient.items()}
        figures[name] = {key: round(float(mean.mean()), 3) for key, mean in values[name].items()}
        figures[name]["seeds"] = [round(float(np.mean(runs)), 3) for runs in by_patient["dice"]]
    within = f"{OWN}, within the hull"
    pairs = [(one, other) for one in (OWN, within) for other in (ORIGINAL, HULL)]
    pairs += [(OWN, "G .5,1"), ("G .5,1", "G 0,1")]
    for key in ("dice", "specificity", "lean muscle found"):
        name = "difference" if key == "dice" else f"difference of {key}"
        figures[name] = {
            f"{a} - {b}": paired_difference(values[a][key].tolist(), values[b][key].tolist()) for a, b in pairs
        }
    figures["cases"] = cases
    figures["dice"] = {name: values[name]["dice"].round(3).tolist() for name in methods}
    return figures


def main(
    limbs: Annotated[Path, typer.Argument(help="Folder of the patients, STS_001 and so on.")],
    work: Annotated[Path, typer.Argument(help="Folder for data, runs and masks.")],
    repetitions: Annotated[int, typer.Option(help="Draws of folds, domains and seeds.")] = 3,
    folds: int = 2,
    epochs: Annotated[int, typer.Option(help="Epochs of 150 updates of each training run.")] = 10,
    at_once: Annotated[int, typer.Option(help="Training runs at a time; 0: all.")] = 1,
    name: Name = "sts_thigh",
    option: Settings = None,
) -> None:
    """Train, segment, score and write the result."""
    scores: list[dict[str, dict]] = []
    for seed in range(repetitions):
        one: dict[str, dict] = {}
        places = [work / f"draw_{seed}" / f"fold_{k}" for k in range(folds)]
        prepared = [prepare(limbs, *pair) for pair in zip(places, draw_folds(seed, folds), strict=True)]
        runs = {(k, name): places[k] / name.replace(" ", "_") for k in range(folds) for name in SETTINGS}
        common = {"seed": seed, "epochs": epochs, "val_interval": 0, "trust_scans": 0, **settings_of(option)}
        trainings = []
        for (k, setting), run in runs.items():
            trainings.append(Training(run, BUNDLE, prepared[k], [], {**common, "w_i": 1.0, **SETTINGS[setting]}))
        train(trainings, 10_000, at_once)
        outs = {key: run.with_name(f"{run.name}_masks") for key, run in runs.items()}
        written = ("--save_translation", True, "--save_reports", False)
        segment(
            {outs[k, setting]: (run, prepared[k]) for (k, setting), run in runs.items()},
            at_once,
            dict.fromkeys(outs.values(), written),
        )
        for k, place in enumerate(places):
            configs, original = runs[k, OWN] / "configs", place / "original_masks"
            files = ["inference.json", "baselines/original.json"]
            own = ("--dataset_dir", prepared[k], "--output_dir", original, "--save_reports", False)
            run_bundle("inferring", configs, files, *own, log=place / "original.log")
            masks = {ORIGINAL: original} | {setting: outs[k, setting] for setting in SETTINGS}
            items = read_datalist(prepared[k] / "datalist.json", "test_volumes")
            for method, by_case in score_fold(limbs, masks, items).items():
                one.setdefault(method, {}).update(by_case)
        scores.append(one)
        print(seed, json.dumps({method: np.mean([s["dice"] for s in by.values()]) for method, by in one.items()}))
    figures = summary(scores) | {"updates": 150 * epochs, "slices": SLICES, "settings": settings_of(option)}
    data = "soft-tissue sarcoma, limbs without the tumour, simulated infiltration"
    print(write_result(name, data, [*range(repetitions)], figures))


if __name__ == "__main__":
    typer.run(main)
