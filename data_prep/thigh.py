"""Thigh MR: volumes to axial slices of a domain that is hard to segment and one that is easy.

Source: Gadermayr et al. 2021, section 2.3. T1w scans of four grades of fatty infiltration. Easy: healthy and minor;
hard: moderate and severe; all slices of a scan belong to its grade's domain, and every scan is scaled by one rule.
In the datalist the hard domain is `training` (infiltration present), the easy one `training_absence`. Evaluated are
severe patients only. They are held out, unless --transductive: then all of them are tested and their slices, without
labels, trained on as well, as the paper very probably did.

Layout: a folder for each grade, <grade>/<case>.nii.gz, with <case>_mask.nii.gz (or _seg, _label) where there is a
mask of all muscle; or any folders and --grades, a CSV file with the columns case (file name without .nii.gz), grade
and, if a patient has several scans, patient.

The paper's size (--pixdim 1 --size 256 256, 1,773 slices) takes 0.25 GB on disk.

    python -m data_prep.thigh --data RAW --out OUT
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from transeg.data.slices import CaseSlices
from transeg.data.volumes import NOT_IMAGES
from transeg.errors import UserError
from transeg.files import volume_stem
from transeg.methods.thigh.slices import ThighSlices

from data_prep.cases import Case, names_of, prepare_cases, run_command, unique_names
from data_prep.splits import split_patients

GRADES = ("healthy", "minor", "moderate", "severe")
MASK_NAMES = ("mask", "seg", "label")


def find_cases(folder: Path, grades: Mapping[str, tuple[str, str]] | None = None) -> list[Case]:
    """Find the scans, their masks and grades.

    Args:
        folder: searched with its subfolders.
        grades: (grade, patient) by case, see `read_grades`; default the name of a folder above the file.

    Returns:
        Cases with the grade as their group; one without a grade says so in its `problem`.

    Raises:
        FileNotFoundError: no scan, or one that `grades` names is missing.
        ValueError: two cases with the same name.
    """
    cases = []
    for path in sorted(path for path in folder.rglob("*.nii*") if not path.name.startswith(".")):
        name = volume_stem(path)
        if name.rpartition("_")[2].lower() in NOT_IMAGES:
            continue
        above = [part.lower() for part in path.relative_to(folder).parts[:-1] if part.lower() in GRADES]
        grade, patient = (above[-1] if above else "", "") if grades is None else grades.get(name, ("", ""))
        problem = "" if grade else f"{path}: no grade; put it in a folder of {', '.join(GRADES)}, or give --grades"
        masks = [path.with_name(path.name.replace(name, f"{name}_{kind}", 1)) for kind in MASK_NAMES]
        label = next((mask for mask in masks if mask.is_file()), None)
        cases.append(Case(name, (path,), label, patient=patient or name, group=grade, problem=problem))
    missing = sorted(set(grades or ()) - {case.name for case in cases})
    if not cases or missing:
        raise FileNotFoundError(f"{folder}: no scan {', '.join(missing) or '(.nii, .nii.gz)'} in it; correct --data")
    unique_names(case.name for case in cases)
    return cases


def read_grades(path: Path) -> dict[str, tuple[str, str]]:
    """Grade and patient ("" if not told) by case, from a CSV file with the columns case, grade and perhaps patient.

    Raises:
        ValueError: a column is missing, or a grade is unknown.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    grades = {}
    for line, row in enumerate(rows, start=2):
        case, grade = (row.get("case") or "").strip(), (row.get("grade") or "").strip().lower()
        if not case or grade not in GRADES:
            raise UserError(f"{path}, line {line}: needs a case and a grade ({', '.join(GRADES)}), got {row}")
        grades[volume_stem(case)] = grade, (row.get("patient") or "").strip()
    return grades


def split_cases(
    cases: Sequence[Case],
    grades: Sequence[str],
    validation: float,
    test: float,
    seed: int,
    validation_cases: Sequence[str] = (),
    test_cases: Sequence[str] = (),
    transductive: bool = False,
) -> dict[str, str]:
    """Split by patient: validation and test come from the patients with a scan of one of `grades`.

    Scans of other grades of such a patient belong to no split and are not in the result, unless `transductive`: then
    every scan of `grades` is for testing, the others for training.

    Raises:
        ValueError: no such scan; or as `split_patients`.
    """
    pool = [case for case in cases if case.group in grades]
    if not pool:
        raise UserError(f"no scan of grade {' or '.join(grades)} to evaluate on; change --test-grades")
    if transductive:
        splits = dict.fromkeys((case.name for case in pool), "test")
    else:
        splits = split_patients(pool, validation, test, seed, validation_cases, test_cases)
    held_out = {case.patient for case in pool if splits[case.name] != "training" and not transductive}
    rest = {case.name: "training" for case in cases if case.name not in splits and case.patient not in held_out}
    return splits | rest


def _make(case: Case, hard: Sequence[str], cut: ThighSlices) -> CaseSlices:
    item = {"image": str(case.images[0])} | ({"label": str(case.label)} if case.label else {})
    return cut(item)._replace(present=case.group in hard)


def _grades_of(text: str, option: str) -> tuple[str, ...]:
    unknown = [name for name in names_of(text) if name not in GRADES]
    if unknown or not names_of(text):
        raise UserError(f"{option}: unknown {', '.join(unknown) or 'empty list'}; choose from {', '.join(GRADES)}")
    return tuple(names_of(text))


def prepare(
    data: Annotated[Path, typer.Option(help="Folder of the scans, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    grades: Annotated[Path | None, typer.Option(help="CSV file with case, grade and perhaps patient.")] = None,
    hard: Annotated[str, typer.Option(help="Grades of the hard domain; the others are easy.")] = "moderate,severe",
    test_grades: Annotated[str, typer.Option(help="Grades to validate and test on.")] = "severe",
    transductive: Annotated[
        bool, typer.Option(help="Test on all of them, and train on them too, without labels.")
    ] = False,
    pixdim: Annotated[float, typer.Option(help="Voxel size in the slice in mm; paper: 1.")] = 2.0,
    size: Annotated[tuple[int, int], typer.Option(help="Voxels of a slice; paper: 256 256.")] = (192, 96),
    min_body: Annotated[float, typer.Option(help="Share of a slice that the body must exceed.")] = 0.05,
    validation: Annotated[float, typer.Option(help="Share (below 1) or number of the patients of these grades.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share (below 1) or number of the patients of these grades.")] = 0.4,
    validation_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    test_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    labelled_fraction: Annotated[float, typer.Option(help="Share of the training volumes that keep a mask.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> Path:
    """Make slices of the hard and the easy domain from thigh MR volumes.

    Bad cases are listed at the end and the others are done; the exit status is then 1.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    harder, tested = _grades_of(hard, "--hard"), _grades_of(test_grades, "--test-grades")
    cases = find_cases(data, None if grades is None else read_grades(grades))
    names = names_of(validation_cases), names_of(test_cases)
    splits = split_cases(cases, tested, validation, test, seed, *names, transductive=transductive)
    unused = sorted(case.name for case in cases if case.name not in splits)
    if unused:
        print(f"left out, other grades of patients that are held out: {', '.join(unused)}")
    return prepare_cases(
        [case for case in cases if case.name in splits],
        splits,
        partial(_make, hard=harder, cut=ThighSlices(pixdim, size, min_body)),
        out,
        labelled_fraction=labelled_fraction,
        graded=True,
        also_training=[name for name, split in splits.items() if split == "test"] if transductive else (),
        seed=seed,
        workers=workers,
        name="Thigh slices",
        description="Segment thigh muscle; axial T1w slices with fatty infiltration and without.",
        modality=("T1w",),
        labels=("background", "muscle"),
        options={"command": "thigh", **options},
    )


if __name__ == "__main__":
    run_command(prepare)
