"""BraTS brain MR: axial half-slices with and without tumour.

Source: Vorontsov et al., section 4.4; `LesionSlices` (transeg.methods.genseg.slices) implements the rules. Patients are
split 80/10/10 %, stratified by grade; labels are kept for whole volumes. Cases without a label are training material:
every patient of BraTS has a tumour, so their slices count as presence.
The authors' code counts brain over four channels, so its threshold for the tumour is about 4 %: --min-tumour 0.04.

Layouts: those that `data_prep.table` knows, such as BraTS 2013 to 2024 as published. File names give the channel
(flair/t2f, t1ce/t1c, t1/t1n, t2/t2w, seg); use --pattern for other names. Images with a non-zero background need a
brain mask, `*brainmask*` or --pattern foreground='*brain*'.

BraTS 2017 (285 patients, about 16,200 half-slices, 4 channels) takes 4.2 GB on disk at the paper's 1 mm (--pixdim 1
--size 240 240), 0.5 GB at 2 mm with slices of 120 x 120; 1 GB of memory per worker either way.

    python -m data_prep.brats --data BRATS --out OUT
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from transeg.data.table import Case
from transeg.errors import UserError
from transeg.methods.genseg.slices import LesionSlices

from data_prep.cases import label_values, prepare_cases, run_command, scans_below
from data_prep.options import (
    Channels,
    Data,
    LabelledCases,
    LabelledCount,
    LabelledFraction,
    Labels,
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
    assign_values,
    names_of,
    patterns_of,
    record_options,
)
from data_prep.splits import split_labelled

CHANNELS = ("FLAIR", "T1c", "T1", "T2")  # of prepared data, in this order
EARLY = re.compile(r"brats_|VSD|.*_pat\d", re.IGNORECASE)  # names of 2012 to 2016, whose four values are all tumour


def channels_of(text: str) -> tuple[str, ...]:
    """Parse --channels: names of `CHANNELS`, in their order.

    Raises:
        UserError: an unknown channel, or none.
    """
    known = {name.lower(): name for name in CHANNELS}
    unknown = [name for name in names_of(text) if name.lower() not in known]
    if unknown or not names_of(text):
        raise UserError(f"--channels: unknown {', '.join(unknown) or 'empty list'}; choose from {', '.join(known)}")
    chosen = {known[name.lower()] for name in names_of(text)}
    return tuple(name for name in CHANNELS if name in chosen)


def find_brains(folder: Path, channels: Sequence[str], pattern: Sequence[str] | None) -> list[Case]:
    """Cases of brain MR, see `scans_below`.

    Args:
        folder: searched with its subfolders.
        channels: names of `CHANNELS`.
        pattern: --pattern options.

    Raises:
        UserError: a pattern for anything but a channel, "label", "foreground" ("mask") or "skip".
        DataError: no case, or more than one possibility what is what.
    """
    patterns = patterns_of(pattern or ())
    known = [*(name.lower() for name in CHANNELS), "label", "foreground", "mask", "skip"]
    for name in patterns:
        if name.lower() not in known:
            raise UserError(f"--pattern {name}: NAME is one of {', '.join(known)}")
    cases = scans_below(folder, channels, patterns)
    return [case if case.label or case.presence is not None else replace(case, presence=True) for case in cases]


def tumour_values(cases: Sequence[Case], labels: Sequence[str] | None) -> dict[str, list[int]]:
    """Values of the tumour in label files: those of --labels, else 1 to 4, as published from 2013 to 2023.

    Raises:
        UserError: labels with the values 3 and 4 that are not of 2016 or before: in BraTS 2024, 4 is the resection
            cavity.
    """
    if labels:
        return assign_values({"tumour": [1, 2, 3, 4]}, labels)
    values = {value for case in cases if case.label and not EARLY.match(case.name) for value in label_values(case)}
    if {3, 4} <= values:
        raise UserError(
            "the labels have both values 3 and 4, whose meaning depends on the year; in BraTS 2024, 4 is the resection "
            "cavity: --labels tumour=1,2,3 --labels background=4; where all are tumour: --labels tumour=1,2,3,4"
        )
    return {"tumour": [1, 2, 3, 4]}


def prepare(
    data: Data,
    out: Out,
    channels: Channels = "flair,t1c,t1,t2",
    pattern: Patterns = None,
    labels: Labels = None,
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
    cases = find_brains(data, names, pattern)
    recipe = {
        "method": "genseg",
        "channels": names,
        "image_size": size,
        "pixdim": pixdim,
        "halves": True,
        "labels": ("background", "tumour"),
        "label_values": tumour_values(cases, labels),
        "min_foreground": min_brain,
        "min_lesion": min_tumour,
        "num_std": 5.0,
        "zero_background": True,
    }
    return prepare_cases(
        cases,
        split_labelled(cases, validation, test, seed, names_of(validation_cases), names_of(test_cases)),
        LesionSlices(recipe),
        out,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        seed=seed,
        workers=workers,
        name="BraTS half-slices",
        description="Brain tumour segmentation; half-slices of brain MR with and without tumour.",
        recipe=recipe,
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
