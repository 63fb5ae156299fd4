"""BraTS brain MR: axial half-slices with and without tumour.

Source: Vorontsov et al., section 4.4; `BrainHalfSlices` (transeg.methods.genseg.slices) implements the rules. Patients
are split 80/10/10 %, stratified by grade; labels are kept for whole volumes.
The authors' code counts brain over four channels, so its threshold for the tumour is about 4 %: --min-tumour 0.04.

Layouts: BraTS 2017 to 2023 as published, HGG and LGG folders or flat, one folder per case. File names give the channel
(flair/t2f, t1ce/t1c, t1/t1n, t2/t2w, seg); use --pattern for other names. Images with a non-zero background need a
brain mask: --pattern mask='*brainmask*'.

BraTS 2017 (285 patients, about 16,200 half-slices, 4 channels) takes 4.2 GB on disk at the paper's 1 mm (--pixdim 1
--size 240 240), 0.5 GB at 2 mm with slices of 120 x 120; 1 GB of memory per worker either way.

    python -m data_prep.brats --data BRATS --out OUT
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from transeg.data.slices import CaseSlices
from transeg.data.volumes import SEQUENCES
from transeg.errors import UserError
from transeg.files import volume_stem
from transeg.methods.genseg.slices import BrainHalfSlices

from data_prep.cases import Case, prepare_cases, run_command, unique_names
from data_prep.options import (
    Channels,
    Data,
    LabelledCases,
    LabelledCount,
    LabelledFraction,
    Out,
    Patterns,
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

LABEL_NAMES = ("seg", "segm", "label")
# patient in the case name: BraTS-GLI-00012-001 (2023), brats_tcia_pat117_0001 (2015); else the whole name
PATIENT = re.compile(r"BraTS-\w+-\d{5}|.*_pat\d+|.+")


def find_cases(folder: Path, channels: Sequence[str], patterns: Mapping[str, str]) -> list[Case]:
    """Find the cases: every folder with an image or label file is one.

    Args:
        folder: searched with its subfolders.
        channels: names of `SEQUENCES`.
        patterns: file name pattern by channel, "label" or "mask"; overrides the published names.

    Returns:
        Cases with their grade; missing or ambiguous files are reported in `problem`.

    Raises:
        FileNotFoundError: no case found.
        ValueError: duplicate case names.
    """
    wanted = (*channels, "label", *(["mask"] if "mask" in patterns else []))
    found: dict[Path, dict[str, list[Path]]] = {}
    for path in sorted(folder.rglob("*.nii*")):
        for kind in wanted:
            if not path.name.startswith(".") and _is(path, kind, patterns):
                found.setdefault(path.parent, {}).setdefault(kind, []).append(path)
    if not found:
        raise FileNotFoundError(
            f"{folder}: no BraTS case found (no file name contains {', '.join(wanted)}); check --data, or give file "
            "name patterns, e.g. --pattern flair='*Flair*'"
        )
    grades = _grades(folder)
    cases = [_case(place, files, wanted, channels, grades) for place, files in found.items()]
    unique_names(case.name for case in cases)
    return cases


def _is(path: Path, kind: str, patterns: Mapping[str, str]) -> bool:
    if kind in patterns:
        return fnmatch(path.name.lower(), patterns[kind].lower())
    known = {alias: name for name, aliases in SEQUENCES.items() for alias in aliases}
    known |= dict.fromkeys(LABEL_NAMES, "label")
    parts = re.split(r"[-_.]", volume_stem(path).lower())
    named = [known[part] for part in parts if part in known]
    return bool(named) and named[-1] == kind


def _case(
    place: Path,
    files: Mapping[str, list[Path]],
    wanted: Sequence[str],
    channels: Sequence[str],
    grades: Mapping[str, str],
) -> Case:
    grade = next((part.upper() for part in reversed(place.parts) if part.upper() in ("HGG", "LGG")), "")
    found = PATIENT.match(place.name)
    assert found is not None  # its last alternative matches any name
    case = Case(place.name, patient=found[0], group=grades.get(place.name, grade))
    missing = [kind for kind in wanted if kind not in files]
    double = [f"{kind} ({', '.join(path.name for path in files[kind])})" for kind in files if len(files[kind]) > 1]
    if missing:
        return replace(case, problem=f"{place}: no file for {', '.join(missing)}; add it or drop the channel")
    if double:
        return replace(case, problem=f"{place}: several files for {'; '.join(double)}; narrow --pattern")
    images = tuple(files[channel][0] for channel in channels)
    mask = files["mask"][0] if "mask" in files else None
    return replace(case, images=images, label=files["label"][0], mask=mask)


def _grades(folder: Path) -> dict[str, str]:
    """Grade by case from `name_mapping.csv`, which replaces the grade folders in BraTS 2020."""
    path = folder / "name_mapping.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {name: row.get("Grade") or "" for row in csv.DictReader(file) for name in row.values() if name}


def extract_case(case: Case, extractor: Callable[[Mapping[str, Any]], CaseSlices]) -> CaseSlices:
    """Call a slice extractor, such as `BrainHalfSlices`, with the files of a case."""
    item = {"image": [str(path) for path in case.images], "label": str(case.label)}
    return extractor(item if case.mask is None else {**item, "mask": str(case.mask)})


def channels_of(text: str) -> tuple[str, ...]:
    """Parse --channels: names of `SEQUENCES`, in their order.

    Raises:
        ValueError: an unknown channel, or none.
    """
    known = {name.lower(): name for name in SEQUENCES}
    unknown = [name for name in names_of(text) if name.lower() not in known]
    if unknown or not names_of(text):
        raise UserError(f"--channels: unknown {', '.join(unknown) or 'empty list'}; choose from {', '.join(known)}")
    chosen = {known[name.lower()] for name in names_of(text)}
    return tuple(name for name in SEQUENCES if name in chosen)


def patterns_of(texts: Sequence[str]) -> dict[str, str]:
    """Parse --pattern NAME=PATTERN into file name patterns by channel, "label" or "mask".

    Raises:
        ValueError: not of this form, or an unknown name.
    """
    known = {name.lower(): name for name in (*SEQUENCES, "label", "mask")}
    patterns = {}
    for text in texts:
        kind, equals, pattern = text.partition("=")
        if not equals or kind.lower() not in known:
            raise UserError(f"--pattern {text}: expected NAME=PATTERN with NAME one of {', '.join(known)}")
        patterns[known[kind.lower()]] = pattern
    return patterns


def prepare(
    data: Data,
    out: Out,
    channels: Channels = "flair,t1c,t1,t2",
    pattern: Patterns = None,
    pixdim: Pixdim = 2.0,
    size: SliceSize = (120, 120),
    min_brain: Annotated[float, typer.Option(help="Minimum brain fraction of a half-slice.")] = 0.25,
    min_tumour: Annotated[float, typer.Option(help="Minimum tumour fraction of the brain in a half-slice.")] = 0.01,
    validation: Validation = 0.1,
    test: Test = 0.1,
    validation_cases: ValidationCases = "",
    test_cases: TestCases = "",
    labelled_fraction: LabelledFraction = 0.01,
    labelled_count: LabelledCount = None,
    labelled_cases: LabelledCases = "",
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare half-slices with and without tumour from BraTS volumes.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("brats", locals())
    names = channels_of(channels)
    extractor = BrainHalfSlices(len(names), pixdim, size, min_brain, min_tumour)
    cases = find_cases(data, names, patterns_of(pattern or ()))
    splits = split_patients(cases, validation, test, seed, names_of(validation_cases), names_of(test_cases))
    return prepare_cases(
        cases,
        splits,
        partial(extract_case, extractor=extractor),
        out,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        seed=seed,
        workers=workers,
        name="BraTS half-slices",
        description="Brain tumour segmentation; half-slices of brain MR with and without tumour.",
        recipe={
            "method": "genseg",
            "channels": names,
            "image_size": size,
            "pixdim": pixdim,
            "halves": True,
            "labels": ("background", "tumour"),
            "min_brain": min_brain,
            "min_tumour": min_tumour,
            "num_std": 5.0,
            "zero_background": True,
        },
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
