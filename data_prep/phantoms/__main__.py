"""Write phantom patients in the raw layout of a real data set.

    python -m data_prep.phantoms brain --out RAW --cases 24
    python -m data_prep.phantoms liver --out RAW --cases 24
    python -m data_prep.phantoms thigh --out RAW --cases 24
    python -m data_prep.phantoms heart --out RAW --cases 20
    python -m data_prep.phantoms knee --out RAW --cases 24 --labelled 5

For a given seed, case i does not depend on the number of cases.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import trange
from transeg.error_hook import exit_with_reason
from transeg.errors import UserError

from data_prep.options import Out, names_of
from data_prep.phantoms.brain import brain_phantom, write_brain
from data_prep.phantoms.common import staged_folder, write_marker
from data_prep.phantoms.heart import heart_phantom, write_heart
from data_prep.phantoms.knee import knee_phantom, write_knee, write_reading
from data_prep.phantoms.liver import liver_phantom, write_liver
from data_prep.phantoms.thigh import thigh_phantom, write_thigh
from data_prep.phantoms.thigh_tissue import GRADES

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
Cases = Annotated[int, typer.Option(help="Number of patients.", min=1)]
Seed = Annotated[int, typer.Option(help="Random seed of the patients.", min=0)]
Difficulty = Annotated[float, typer.Option(help="Difficulty, 0 (bright lesions, clean images) to 1.", min=0, max=1)]
Shape = Annotated[str, typer.Option(help="Volume size in voxels: X,Y,Z.")]
Spacing = Annotated[str, typer.Option(help="Voxel size in mm: one number, or X,Y,Z.")]
Overwrite = Annotated[bool, typer.Option(help="Overwrite existing phantoms in the output folder.")]


@app.command()
def brain(
    out: Out,
    cases: Cases = 24,
    seed: Seed = 0,
    shape: Shape = "120,120,78",
    spacing: Spacing = "2.0",
    difficulty: Difficulty = 0.5,
    tumour_free: Annotated[float, typer.Option(help="Fraction of the patients without a tumour.", min=0, max=1)] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """Brain MR (FLAIR, T1c, T1, T2) with tumours, in the layout of BraTS 2017; patients without are in `healthy`."""
    phase = np.random.default_rng((seed, 1, 0)).random()

    def make(folder: Path, case: int) -> str:
        # evenly spread: the fraction holds for any number of cases, and no case depends on it
        healthy = math.floor((case + 1) * tumour_free + phase) > math.floor(case * tumour_free + phase)
        numbers = (_numbers(shape, int), _numbers(spacing, float))
        phantom = brain_phantom((seed, case), *numbers, difficulty, "healthy" if healthy else None)
        write_brain(phantom, folder, case)
        return phantom.grade

    options = {"seed": seed, "shape": shape, "spacing": spacing, "difficulty": difficulty, "tumour_free": tumour_free}
    _write("brain", out, cases, overwrite, make, options)


@app.command()
def liver(
    out: Out,
    cases: Cases = 24,
    seed: Seed = 0,
    shape: Shape = "128,128,48",
    spacing: Spacing = "3,3,5",
    difficulty: Difficulty = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Abdominal CT with liver lesions, in the layout of LiTS."""

    def make(folder: Path, case: int) -> str:
        phantom = liver_phantom((seed, case), _numbers(shape, int), _numbers(spacing, float), difficulty)
        write_liver(phantom, folder, case)
        return "with lesions" if (phantom.label == 2).any() else "without lesions"

    options = {"seed": seed, "shape": shape, "spacing": spacing, "difficulty": difficulty}
    _write("liver", out, cases, overwrite, make, options)


@app.command()
def thigh(
    out: Out,
    cases: Cases = 24,
    seed: Seed = 0,
    shape: Annotated[
        str, typer.Option(help="Volume size in voxels: X,Y,Z (default: 192,96,8; one leg: 96,96,8).")
    ] = "",
    spacing: Spacing = "2,2,7",
    legs: Annotated[int, typer.Option(help="Number of legs in the field of view.", min=1, max=2)] = 2,
    grades: Annotated[str, typer.Option(help="Comma-separated grades, assigned to the cases in turn.")] = ",".join(
        GRADES
    ),
    difficulty: Annotated[float, typer.Option(help="Difficulty, 0 (clean images) to 1.", min=0, max=1)] = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """T1w thigh MR with fatty infiltration, one folder per grade: healthy, minor, moderate, severe."""
    shape = shape or f"{96 * legs},96,8"
    turns = names_of(grades)

    def make(folder: Path, case: int) -> str:
        grade = turns[case % len(turns)]
        numbers = (_numbers(shape, int), _numbers(spacing, float))
        write_thigh(thigh_phantom((seed, case), *numbers, grade, legs, difficulty), folder, case)
        return grade

    options = {
        "seed": seed,
        "shape": shape,
        "spacing": spacing,
        "legs": legs,
        "grades": turns,
        "difficulty": difficulty,
    }
    _write("thigh", out, cases, overwrite, make, options)


@app.command()
def heart(
    out: Out,
    cases: Annotated[int, typer.Option(help="Number of CT and of MR patients.", min=1)] = 20,
    extra_ct: Annotated[int, typer.Option(help="Number of additional CT patients.", min=0)] = 0,
    seed: Seed = 0,
    shape: Annotated[str, typer.Option(help="Volume size in voxels along the patient's X,Y,Z.")] = "96,96,80",
    spacing: Spacing = "2.0",
    difficulty: Annotated[
        float, typer.Option(help="Difficulty, 0 (clear borders, clean images) to 1 (faint, noisy).", min=0, max=1)
    ] = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Contrast-enhanced CT and MR of different hearts, in the layout of MM-WHS."""
    numbers = (_numbers(shape, int), _numbers(spacing, float))

    def make(folder: Path, case: int) -> str:
        for modality in ("ct", "mr") if case < cases else ("ct",):
            write_heart(heart_phantom((seed, case), modality, *numbers, difficulty), folder, case)
        return "CT and MR" if case < cases else "CT only"

    options = {"seed": seed, "shape": shape, "spacing": spacing, "difficulty": difficulty, "extra_ct": extra_ct}
    _write("heart", out, cases + extra_ct, overwrite, make, options)


@app.command()
def knee(
    out: Out,
    cases: Cases = 24,
    labelled: Annotated[int, typer.Option(help="Number of patients with a mask.", min=0)] = 5,
    lesion_free: Annotated[float, typer.Option(help="Fraction of the patients without a lesion.", min=0, max=1)] = 0.4,
    seed: Seed = 0,
    shape: Shape = "224,224,20",
    spacing: Spacing = "0.5,0.5,3",
    difficulty: Difficulty = 0.5,
    overwrite: Overwrite = False,
) -> None:
    """Sagittal knee MR with bone marrow lesions, some masks, and reading.csv: which slices show a lesion."""
    numbers = (_numbers(shape, int), _numbers(spacing, float))
    rows = []

    def make(folder: Path, case: int) -> str:
        lesion = math.floor((case + 1) * lesion_free) == math.floor(case * lesion_free)
        phantom = knee_phantom((seed, case), *numbers, difficulty, lesion)
        rows.append(write_knee(phantom, folder, case, labelled=case < labelled))
        write_reading(folder, rows)
        return "with a lesion" if lesion else "without"

    options = {"seed": seed, "shape": shape, "spacing": spacing, "difficulty": difficulty, "labelled": labelled}
    _write("knee", out, cases, overwrite, make, options | {"lesion_free": lesion_free})


def _write(
    kind: str, out: Path, cases: int, overwrite: bool, make: Callable[[Path, int], str], options: dict[str, object]
) -> None:
    with exit_with_reason(), staged_folder(out, overwrite) as folder:
        groups = Counter(make(folder, case) for case in trange(cases, desc=f"{kind} phantoms"))
        write_marker(folder, kind=kind, cases=cases, **options)
    print(f"wrote {cases} {kind} phantoms to {out}: " + ", ".join(f"{n} {name}" for name, n in sorted(groups.items())))


def _numbers(text: str, kind: type) -> tuple:
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        raise UserError(f"'{text}' is not a comma-separated list of numbers") from None
    return values * 3 if len(values) == 1 else values


if __name__ == "__main__":
    app()
