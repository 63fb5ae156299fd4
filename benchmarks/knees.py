"""An organ that no preset knows: knees from a table, a few masks, and yes or no for the others.

The commands of docs/own_scans.md on phantoms: a table, its preparation, a GenSeg training run and `transeg segment`;
scored on other phantoms, from the masks on disk. Beside it, with the same masks: the same network trained on them
alone, and a U-Net as nnU-Net would set it up (slices without a lesion count as empty for both), and the threshold on
the intensity (divided by the scan's 99.5 percentile) that is best on them. Networks of ours also with a segmentation
that begins with a lesion's share (`prior`). The mask of one validation patient chooses the epoch of every network.
Steps that the folder holds already are not repeated.

    python -m benchmarks.knees WORK
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer
from transeg.metrics.overlap import dice
from transeg.metrics.statistics import paired_difference
from transeg.metrics.threshold import best_threshold

from benchmarks.results import ROOT, read_mask, write_result
from benchmarks.run import train

BUNDLE = ROOT / "bundles" / "brain_mri_genseg_segmentation"
MASKS = 6
ALONE = ["baselines/segmentation_only.json"]
PRIOR = ["--network_def#prior", 0.02]
METHODS: dict[str, tuple[list[str], list]] = {  # overlays and options
    "segmentation only": (ALONE, []),
    "segmentation only, prior": (ALONE, PRIOR),
    "U-Net": ([*ALONE, "baselines/segmentation_only_unet.json"], []),
    "GenSeg": ([], []),
    "GenSeg, prior": ([], PRIOR),
}


def score(
    work: Annotated[Path, typer.Argument(help="Folder for phantoms, data, runs and masks.")],
    cases: Annotated[int, typer.Option(help="Number of training patients.")] = 60,
    test: Annotated[int, typer.Option(help="Number of test patients, the same for all seeds.")] = 32,
    epochs: int = 24,
    seeds: Annotated[int, typer.Option(help="Number of seeds, each with training patients of its own.")] = 3,
) -> None:
    """Train on knee phantoms with a few masks and score other knees."""
    held_out = work / "test"
    _phantoms(held_out, test, test, seed=2000)  # 1000: the knees that the prior was chosen on
    paths = [path for path in sorted(held_out.glob("*_mask.nii.gz")) if read_mask(path).any()]
    lesions = [_pair(held_out, path) for path in paths]
    found: dict[str, list[list[float]]] = {name: [] for name in ("threshold", *METHODS)}
    for seed in range(seeds):
        folder = work / f"seed_{seed}"
        raw, data = folder / "train", folder / "prep"
        _phantoms(raw, cases, MASKS, seed)
        if not (data / "datalist.json").is_file():
            table = raw / "cases.csv"
            _run("data_prep.table", raw, "--out", table, "--join", raw / "reading.csv", "--overwrite")
            settings = ["--test", 0, "--validation", 1, "--pixdim", "1.75,1.75,native"]
            _run("data_prep.prepare", table, "--bundle", BUNDLE.name, "--out", data, *settings)
        masked = [_pair(raw, path) for path in sorted(raw.glob("*_mask.nii.gz"))]
        threshold = best_threshold([image for image, _ in masked], [mask for _, mask in masked])
        found["threshold"].append([dice(image > threshold, mask) for image, mask in lesions])
        for name, (overlays, options) in METHODS.items():
            label = name.replace(",", "").replace(" ", "_")
            run, masks = folder / label, folder / f"masks_{label}"
            length = ["--epochs", epochs, "--batches_per_epoch", 50, "--batch_size", 6, "--seed", seed]
            train(BUNDLE / "configs", ["train.json", *overlays], run, "--dataset_dir", data, *length, *options)
            _run("transeg.cli", "segment", held_out, "--bundle", run, "--out", masks, "--skip-done")
            written = (masks / path.name.replace("_mask", "_seg") for path in paths)
            found[name].append([dice(read_mask(own), mask) for own, (_, mask) in zip(written, lesions, strict=True)])

    mean = {name: np.mean(values, axis=0) for name, values in found.items()}  # of each patient over the seeds
    figures: dict[str, Any] = {
        name: {
            "mean": round(float(values.mean()), 3),
            "median": round(float(np.median(values)), 3),
            "seeds": np.mean(found[name], axis=1).round(3).tolist(),
        }
        for name, values in mean.items()
    }
    figures["difference"] = {
        own: {name: paired_difference(mean[own], mean[name]) for name in mean if not name.startswith("GenSeg")}
        for own in mean
        if own.startswith("GenSeg")
    }
    figures |= {"n": len(mean["GenSeg"]), "epochs": epochs, "masks": MASKS}
    figures["dice"] = {name: np.round(values, 3).tolist() for name, values in found.items()}
    print(figures)
    data_note = f"{cases} knee phantoms a seed, {MASKS} with a mask; {test} others to test"
    write_result("knees", data_note, [*range(seeds)], figures)


def _phantoms(folder: Path, cases: int, masks: int, seed: int) -> None:
    if not folder.is_dir():
        _run("data_prep.phantoms", "knee", "--out", folder, "--cases", cases, "--labelled", masks, "--seed", seed)


def _pair(folder: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.Nifti1Image.from_filename(folder / mask.name.replace("_mask", "")).get_fdata()
    return image / np.percentile(image, 99.5), read_mask(mask)


def _run(module: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


if __name__ == "__main__":
    typer.run(score)
