"""An organ that no preset knows: knees from a table, a few masks, and yes or no for the others.

The commands of docs/own_scans.md on phantoms: a table, its preparation, a GenSeg training run and `transeg segment`;
scored on other phantoms, from the masks on disk, beside the threshold on the intensity (divided by the scan's 99.5
percentile) that is best on the masks of the training patients. Steps that the folder holds already are not repeated.

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
from transeg.metrics.threshold import best_threshold

from benchmarks.results import ROOT, write_result
from benchmarks.run import train

BUNDLE = ROOT / "bundles" / "brain_mri_genseg_segmentation"
MASKS = 6


def score(
    work: Annotated[Path, typer.Argument(help="Folder for phantoms, data, run and masks.")],
    cases: Annotated[int, typer.Option(help="Number of training patients.")] = 60,
    test: Annotated[int, typer.Option(help="Number of test patients.")] = 16,
    epochs: int = 24,
    seed: int = 0,
) -> None:
    """Train on knee phantoms with a few masks and score other knees."""
    raw, held_out, data, run = (work / name for name in ("train", "test", "prep", "run"))
    for folder, number, masks, draw in ((raw, cases, MASKS, seed), (held_out, test, test, seed + 1)):
        if not folder.is_dir():
            options = ["--cases", number, "--labelled", masks, "--seed", draw]
            _run("data_prep.phantoms", "knee", "--out", folder, *options)
    if not (data / "datalist.json").is_file():
        table = raw / "cases.csv"
        _run("data_prep.table", raw, "--out", table, "--join", raw / "reading.csv", "--overwrite")
        options = ["--test", 0, "--validation", 1, "--pixdim", "1.75,1.75,native"]
        _run("data_prep.prepare", table, "--bundle", BUNDLE.name, "--out", data, *options)
    length = ["--epochs", epochs, "--batches_per_epoch", 50, "--batch_size", 6, "--seed", seed]
    train(BUNDLE / "configs", ["train.json"], run, "--dataset_dir", data, *length)
    _run("transeg.cli", "segment", held_out, "--bundle", run, "--out", work / "masks", "--skip-done")

    masked = [_pair(raw, path) for path in sorted(raw.glob("*_mask.nii.gz"))]
    threshold = best_threshold([image for image, _ in masked], [mask for _, mask in masked])
    found: dict[str, list[float]] = {"threshold": [], "GenSeg": []}
    for path in sorted(held_out.glob("*_mask.nii.gz")):
        image, mask = _pair(held_out, path)
        if mask.any():
            found["threshold"].append(dice(image > threshold, mask))
            own = work / "masks" / path.name.replace("_mask", "_seg")
            found["GenSeg"].append(dice(np.asarray(nib.Nifti1Image.from_filename(own).dataobj) > 0, mask))
    difference = np.subtract(found["GenSeg"], found["threshold"])
    rng = np.random.default_rng(0)
    means = rng.choice(difference, (10_000, len(difference))).mean(axis=1)
    figures: dict[str, Any] = {
        name: {"mean": round(float(np.mean(values)), 3), "median": round(float(np.median(values)), 3)}
        for name, values in found.items()
    }
    interval = np.quantile(means, (0.025, 0.975)).round(3).tolist()
    figures["difference"] = {"mean": round(float(difference.mean()), 3), "interval": interval}
    figures |= {"n": len(difference), "epochs": epochs, "masks": MASKS}
    figures["dice"] = {name: np.round(values, 3).tolist() for name, values in found.items()}
    print(figures)
    write_result("knees", f"{cases} knee phantoms, {MASKS} with a mask; {test} others to test", [seed], figures)


def _pair(folder: Path, mask: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nib.Nifti1Image.from_filename(folder / mask.name.replace("_mask", "")).get_fdata()
    return image / np.percentile(image, 99.5), np.asarray(nib.Nifti1Image.from_filename(mask).dataobj) > 0


def _run(module: str, *arguments: object) -> None:
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], check=True)


if __name__ == "__main__":
    typer.run(score)
