"""Real scans: PathoGAN on BRATS 2013 (FLAIR, T1c), trained on three of the four patients and tested on the fourth.

Each patient is held out once. From 60 to 100 mm, as published, these scans have no healthy slice, hence --first and
--last. No patients remain for validation, so the threshold on FLAIR is chosen on the masks of the three training
patients, which PathoGAN never sees.

    python -m benchmarks.pathogan_real --data BRATS --work WORK --picture PICTURE.png
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.pathogan_phantoms import Summary, evaluate, evaluate_threshold, flair_stacks, picture, train_method
from benchmarks.results import write_result

PATTERNS = {"flair": "Flair*", "t1c": "T1c*", "label": "OTMulti*", "mask": "brainmask*"}


def prepare(data: Path, out: Path, case: str, first: float, last: float) -> None:
    """Prepare the slices of all patients, with one patient for the test."""
    if (out / "datalist.json").is_file():
        return
    command = [sys.executable, "-m", "data_prep.brats_slices", "--data", data, "--out", out, "--channels", "flair,t1c"]
    for kind, pattern in PATTERNS.items():
        command += ["--pattern", f"{kind}={pattern}"]
    command += ["--first", first, "--last", last, "--validation", 0, "--test-cases", case]
    subprocess.run([str(part) for part in command], check=True)


def main(
    data: Annotated[Path, typer.Option(help="Folder with the four patients.")],
    work: Annotated[Path, typer.Option(help="Folder for slices, weights, logs and scores.")],
    epochs: Annotated[int, typer.Option(help="Number of epochs.")] = 20,
    batches: Annotated[int, typer.Option(help="Updates per epoch.")] = 100,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    first: Annotated[float, typer.Option(help="Lowest slice, in mm above the bottom of the volume.")] = 20,
    last: Annotated[float, typer.Option(help="Highest slice, in mm above the bottom of the volume.")] = 154,
    picture_of: Annotated[str, typer.Option("--picture-of", help="Case in the image; default the first.")] = "",
    picture_path: Annotated[Path | None, typer.Option("--picture", help="Image file to write.")] = None,
) -> None:
    """Train and test with each patient held out, save an image of one, and write the result."""
    cases = sorted(folder.name for folder in data.iterdir() if folder.is_dir())
    if picture_of and picture_of not in cases:
        raise typer.BadParameter(f"--picture-of {picture_of}: not one of {', '.join(cases)}")
    slices = {case: work / f"data_{case}" for case in cases}
    for case, out in slices.items():
        prepare(data, out, case, first, last)
    stacks = {case: flair_stacks(out, "test") for case, out in slices.items()}
    patients: dict[str, dict[str, Summary]] = {}
    for case, out in slices.items():
        images, labels = ([volume for other in cases if other != case for volume in stacks[other][i]] for i in (0, 1))
        run_dir = work / f"{case}_{seed}_{epochs}x{batches}"
        length = ["--seed", seed, "--epochs", epochs, "--batches_per_epoch", batches, "--val_interval", epochs + 1]
        train_method(out, run_dir, [], *length)
        patients[case] = {
            "threshold on FLAIR": evaluate_threshold(out, work / f"{case}_threshold", (images, labels)),
            "PathoGAN": evaluate(out, run_dir),
        }
        dices = {name: f"{found['patient_dice']['mean']:.3f}" for name, found in patients[case].items()}
        print(case, dices, flush=True)
        if picture_path is not None and case == (picture_of or cases[0]):
            picture(out, run_dir, picture_path)
    prepared = {case: json.loads((out / "datalist.json").read_text())["preparation"] for case, out in slices.items()}
    figures = {
        "patients": patients,
        "updates": epochs * batches,
        "first": first,
        "last": last,
        "threshold_from": "masks of the training patients",
        "picture": picture_of or cases[0],
        "slices": {case: preparation["kept"] for case, preparation in prepared.items()},
    }
    print(write_result("pathogan_real", f"BRATS 2013, {len(cases)} patients, leave one out", [seed], figures))


if __name__ == "__main__":
    typer.run(main)
