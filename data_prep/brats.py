"""BraTS brain MR: volumes to axial half-slices with and without tumour.

Source: Vorontsov et al., section 4.4; the rules are those of `BrainHalfSlices`
(transeg.methods.genseg.slices). Patients are split 80/10/10 % with the grades in proportion; labels are kept for whole
volumes.
The authors' code counts brain over four channels, so its threshold for the tumour is about 4 %: --min-tumour 0.04.

Layouts: BraTS 2017 to 2023 as published, HGG and LGG folders or flat, one folder for each case; the name of a file
tells its channel (flair/t2f, t1ce/t1c, t1/t1n, t2/t2w, seg), other names by --pattern. Images whose background is not
zero need a brain mask: --pattern mask='*brainmask*'.

BraTS 2017 (285 patients, about 16,200 half-slices, 4 channels): at 1 mm (--pixdim 1 --size 240 240) 4.2 GB on disk,
at 2 mm with slices of 120 x 120 0.5 GB; 1 GB resident for each worker either way.

    python -m data_prep.brats --data BRATS --out OUT
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
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

from data_prep.cases import Case, names_of, prepare_cases, run_command, unique_names
from data_prep.splits import split_patients

LABEL_NAMES = ("seg", "segm", "label")
# scans of one patient: BraTS-GLI-00012-001 (2023) and brats_tcia_pat117_0001 (2015); else the name of the case
PATIENT = re.compile(r"BraTS-\w+-\d{5}|.*_pat\d+|.+")


def find_cases(folder: Path, channels: Sequence[str], patterns: Mapping[str, str]) -> list[Case]:
    """Find the cases: every folder that holds a file of a channel or a label is one.

    Args:
        folder: searched with its subfolders.
        channels: names of `SEQUENCES`.
        patterns: file name pattern by channel, "label" or "mask", instead of the published names.

    Returns:
        Cases with their grade; one that lacks a file, or has two of a kind, says so in its `problem`.

    Raises:
        FileNotFoundError: no case.
        ValueError: two cases with the same name.
    """
    wanted = (*channels, "label", *(["mask"] if "mask" in patterns else []))
    found: dict[Path, dict[str, list[Path]]] = {}
    for path in sorted(folder.rglob("*.nii*")):
        for kind in wanted:
            if not path.name.startswith(".") and _is(path, kind, patterns):
                found.setdefault(path.parent, {}).setdefault(kind, []).append(path)
    if not found:
        raise FileNotFoundError(
            f"{folder}: no BraTS case in it, no file name tells {', '.join(wanted)}; correct --data or name the files, "
            f"such as --pattern flair='*Flair*'"
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
    common = {"name": place.name, "patient": PATIENT.match(place.name)[0], "group": grades.get(place.name, grade)}
    missing = [kind for kind in wanted if kind not in files]
    double = [f"{kind} ({', '.join(path.name for path in files[kind])})" for kind in files if len(files[kind]) > 1]
    if missing:
        return Case(**common, problem=f"{place}: no file for {', '.join(missing)}; add it or leave the channel out")
    if double:
        return Case(**common, problem=f"{place}: several files for {'; '.join(double)}; narrow them by --pattern")
    images = tuple(files[channel][0] for channel in channels)
    return Case(**common, images=images, label=files["label"][0], mask=files["mask"][0] if "mask" in files else None)


def _grades(folder: Path) -> dict[str, str]:
    """Grade by case from `name_mapping.csv`, which BraTS 2020 has in place of grade folders."""
    path = folder / "name_mapping.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        return {name: row.get("Grade") or "" for row in csv.DictReader(file) for name in row.values() if name}


def cut_case(case: Case, cut: Callable[[Mapping[str, Any]], CaseSlices]) -> CaseSlices:
    """Give a cut, such as `BrainHalfSlices`, the files of a case."""
    item = {"image": [str(path) for path in case.images], "label": str(case.label)}
    return cut(item if case.mask is None else {**item, "mask": str(case.mask)})


def channels_of(text: str) -> tuple[str, ...]:
    """Names of `SEQUENCES` from the option --channels, always in their order; ValueError for others or none."""
    known = {name.lower(): name for name in SEQUENCES}
    unknown = [name for name in names_of(text) if name.lower() not in known]
    if unknown or not names_of(text):
        raise UserError(f"--channels: unknown {', '.join(unknown) or 'empty list'}; choose from {', '.join(known)}")
    chosen = {known[name.lower()] for name in names_of(text)}
    return tuple(name for name in SEQUENCES if name in chosen)


def patterns_of(texts: Sequence[str]) -> dict[str, str]:
    """File name patterns by kind from the options --pattern NAME=PATTERN; ValueError for another form."""
    known = {name.lower(): name for name in (*SEQUENCES, "label", "mask")}
    patterns = {}
    for text in texts:
        kind, equals, pattern = text.partition("=")
        if not equals or kind.lower() not in known:
            raise UserError(f"--pattern {text}: needs the form NAME=PATTERN with NAME one of {', '.join(known)}")
        patterns[known[kind.lower()]] = pattern
    return patterns


def prepare(
    data: Annotated[Path, typer.Option(help="Folder of the cases, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    channels: Annotated[str, typer.Option(help="Any of flair, t1c, t1, t2; always in this order.")] = "flair,t1c,t1,t2",
    pattern: Annotated[
        list[str] | None, typer.Option(help="File names of a channel, label or mask, such as flair='*Flair*'. Repeat.")
    ] = None,
    pixdim: Annotated[float, typer.Option(help="Voxel size in mm; paper: 1.")] = 2.0,
    size: Annotated[tuple[int, int], typer.Option(help="Voxels of a whole slice; paper: 240 240.")] = (120, 120),
    min_brain: Annotated[float, typer.Option(help="Share of a half-slice that must be brain.")] = 0.25,
    min_tumour: Annotated[float, typer.Option(help="Share of the brain that a tumour must exceed.")] = 0.01,
    validation: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.1,
    validation_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    test_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    labelled_fraction: Annotated[float, typer.Option(help="Share of the training volumes with a label.")] = 0.01,
    labelled_count: Annotated[int | None, typer.Option(help="Their number, instead.")] = None,
    labelled_cases: Annotated[str, typer.Option(help="Their names, with commas, instead.")] = "",
    seed: Annotated[int, typer.Option(help="Of the split and the choice of labels.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> Path:
    """Make half-slices with and without tumour from BraTS volumes.

    Bad cases are listed at the end and the others are done; the exit status is then 1.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    names = channels_of(channels)
    cut = BrainHalfSlices(len(names), pixdim, size, min_brain, min_tumour)
    cases = find_cases(data, names, patterns_of(pattern or ()))
    splits = split_patients(cases, validation, test, seed, names_of(validation_cases), names_of(test_cases))
    return prepare_cases(
        cases,
        splits,
        partial(cut_case, cut=cut),
        out,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        seed=seed,
        workers=workers,
        name="BraTS half-slices",
        description="Segment brain tumours; half-slices of brain MR with and without tumour.",
        modality=names,
        labels=("background", "tumour"),
        options={"command": "brats", **options},
    )


if __name__ == "__main__":
    run_command(prepare)
