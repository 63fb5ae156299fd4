"""BraTS brain MR: axial half-slices with and without tumour.

Source: Vorontsov et al., section 4.4; `BrainHalfSlices` (transeg.methods.genseg.slices) implements the rules. Patients
are split 80/10/10 %, stratified by grade; labels are kept for whole volumes.
The authors' code counts brain over four channels, so its threshold for the tumour is about 4 %: --min-tumour 0.04.

Layouts: those that `data_prep.table` knows, such as BraTS 2013 to 2024 as published. File names give the channel
(flair/t2f, t1ce/t1c, t1/t1n, t2/t2w, seg); use --pattern for other names. Images with a non-zero background need a
brain mask, `*brainmask*` or --pattern foreground='*brain*'.

BraTS 2017 (285 patients, about 16,200 half-slices, 4 channels) takes 4.2 GB on disk at the paper's 1 mm (--pixdim 1
--size 240 240), 0.5 GB at 2 mm with slices of 120 x 120; 1 GB of memory per worker either way.

    python -m data_prep.brats --data BRATS --out OUT
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from transeg.data.slices import CaseSlices
from transeg.data.table import Case
from transeg.errors import UserError
from transeg.methods.genseg.slices import BrainHalfSlices

from data_prep.cases import prepare_cases, run_command, scans_below
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
    patterns_of,
    record_options,
)
from data_prep.splits import split_patients

CHANNELS = ("FLAIR", "T1c", "T1", "T2")  # of prepared data, in this order


def extract_case(
    case: Case, extractor: Callable[[Mapping[str, Any]], CaseSlices], channels: Sequence[str]
) -> CaseSlices:
    """Call a slice extractor, such as `BrainHalfSlices`, with the files of a case."""
    return extractor(case.item(channels))


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
    return scans_below(folder, channels, patterns)


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
    cases = find_brains(data, names, pattern)
    splits = split_patients(cases, validation, test, seed, names_of(validation_cases), names_of(test_cases))
    return prepare_cases(
        cases,
        splits,
        partial(extract_case, extractor=extractor, channels=names),
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
