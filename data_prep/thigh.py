"""Thigh MR: axial slices of a domain that is hard to segment and one that is easy.

Source: Gadermayr et al. 2021, section 2.3. T1w scans of four grades of fatty infiltration. Easy: healthy and minor;
hard: moderate and severe. All slices of a scan belong to the domain of its grade, and every scan is scaled by the same
rule. In the datalist the hard domain is `training` (infiltration present), the easy one `training_absence`. Only severe
patients are used for evaluation. They are held out unless --transductive is given: then all of them are tested, and
their slices, without labels, are also trained on, as the paper very probably did.

Layout: one folder per grade, <grade>/<case>.nii.gz, with <case>_mask.nii.gz (or _seg, _label) where there is a mask of
all muscle; or any folders and --grades, a CSV file with the columns case (file name without .nii.gz), grade and, if
patients have several scans, patient.

The paper's grid (--pixdim 1 --size 256 256, 1,773 slices) takes 0.25 GB on disk.

    python -m data_prep.thigh --data RAW --out OUT
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from transeg.data.table import Case
from transeg.errors import DataError, UserError
from transeg.files import volume_stem
from transeg.methods.thigh.slices import ThighSlices
from transeg.references import parse

from data_prep.cases import prepare_cases, run_command, scans_below
from data_prep.options import (
    Data,
    LabelledCases,
    LabelledCount,
    LabelledFraction,
    Out,
    Pixdim,
    Seed,
    SliceSize,
    Test,
    TestCases,
    Validation,
    ValidationCases,
    Workers,
    names_of,
    record_options,
)
from data_prep.splits import split_patients

GRADES = ("healthy", "minor", "moderate", "severe")
CHANNELS = ("T1w",)


def find_thighs(folder: Path, grades: Mapping[str, tuple[str, str]] | None = None) -> list[Case]:
    """Scans with their mask, see `scans_below`, grouped by grade; a missing grade is reported in `problem`.

    Args:
        folder: searched with its subfolders.
        grades: (grade, patient) by case, see `read_grades`; default: the name of a folder above the file.

    Raises:
        DataError: no scan found, or a scan listed in `grades` is missing.
    """
    cases, listed = scans_below(folder, CHANNELS), set()
    for number, case in enumerate(cases):
        file = parse(next(iter(case.images.values()))).path
        if grades is not None:
            name = next((name for name in (case.name, volume_stem(file)) if name in grades), "")
            grade, patient = grades.get(name, ("", ""))
            listed.add(name)
            case = replace(case, group=grade, patient=patient or case.patient)
        if case.group not in GRADES and not case.problem:
            named = ", ".join(GRADES)
            fault = f"{file}: no grade; move it to a folder named after its grade ({named}) or use --grades"
            case = replace(case, problem=fault)
        cases[number] = case
    missing = sorted(set(grades or ()) - listed)
    if missing:
        raise DataError(f"{folder}: no scan {', '.join(missing)} found; check --data")
    return cases


def read_grades(path: Path) -> dict[str, tuple[str, str]]:
    """Read (grade, patient) by case from a CSV file with columns case, grade and, optionally, patient ("" if missing).

    Raises:
        ValueError: a missing column or an unknown grade.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    grades = {}
    for line, row in enumerate(rows, start=2):
        case, grade = (row.get("case") or "").strip(), (row.get("grade") or "").strip().lower()
        if not case or grade not in GRADES:
            raise UserError(f"{path}, line {line}: expected a case and a grade ({', '.join(GRADES)}), got {row}")
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
    """Split by patient; validation and test are drawn from the patients with a scan of one of `grades`.

    Scans of other grades of held-out patients are in no split and omitted from the result. If `transductive`, every
    scan of `grades` is for testing and all others are for training.

    Raises:
        ValueError: no scan of these grades; see also `split_patients`.
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


def _grades_of(text: str, option: str) -> tuple[str, ...]:
    unknown = [name for name in names_of(text) if name not in GRADES]
    if unknown or not names_of(text):
        raise UserError(f"{option}: unknown {', '.join(unknown) or 'empty list'}; choose from {', '.join(GRADES)}")
    return tuple(names_of(text))


def prepare(
    data: Data,
    out: Out,
    grades: Annotated[
        Path | None, typer.Option(help="CSV file with columns case, grade and, optionally, patient.")
    ] = None,
    hard: Annotated[
        str, typer.Option(help="Comma-separated grades of the hard domain; the others are easy.")
    ] = "moderate,severe",
    test_grades: Annotated[str, typer.Option(help="Comma-separated grades to validate and test on.")] = "severe",
    transductive: Annotated[
        bool, typer.Option(help="Test on all scans of the test grades and also train on them, without labels.")
    ] = False,
    pixdim: Pixdim = 2.0,
    size: SliceSize = (192, 96),
    min_body: Annotated[float, typer.Option(help="Minimum body fraction of a slice.")] = 0.05,
    validation: Validation = 0.1,
    test: Test = 0.4,
    validation_cases: ValidationCases = "",
    test_cases: TestCases = "",
    labelled_fraction: LabelledFraction = 1.0,
    labelled_count: LabelledCount = None,
    labelled_cases: LabelledCases = "",
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare slices of the hard and the easy domain from thigh MR volumes.

    Validation and test patients are drawn from those of the test grades. Failed cases are listed at the end; all others
    are processed. Exit status 1 if any failed.
    """
    options = record_options("thigh", locals())
    hard_grades, evaluated = _grades_of(hard, "--hard"), _grades_of(test_grades, "--test-grades")
    cases = find_thighs(data, None if grades is None else read_grades(grades))
    names = names_of(validation_cases), names_of(test_cases)
    splits = split_cases(cases, evaluated, validation, test, seed, *names, transductive=transductive)
    unused = sorted(case.name for case in cases if case.name not in splits)
    if unused:
        print(f"not used (other grades of held-out patients): {', '.join(unused)}")
    recipe = {
        "method": "thigh",
        "channels": CHANNELS,
        "image_size": size,
        "pixdim": (pixdim, pixdim, -1.0),
        "foreground": "threshold",
        "normalise": "percentiles",
        "labels": ("background", "muscle"),
        "hard_grades": hard_grades,
        "min_foreground": min_body,
    }
    used = [case for case in cases if case.name in splits]
    return prepare_cases(
        [replace(case, domain="hard" if case.group in hard_grades else "easy") for case in used],
        splits,
        ThighSlices(recipe),
        out,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        graded=True,
        also_training=[name for name, split in splits.items() if split == "test"] if transductive else (),
        seed=seed,
        workers=workers,
        name="Thigh slices",
        description="Thigh muscle segmentation; axial T1w slices with and without fatty infiltration.",
        recipe=recipe,
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
