"""BraTS brain MR: whole axial slices with and without tumour, for training from slice-level labels.

Source: Andermatt et al. 2018, section 2.5; `ImageLevelSlices` (transeg.methods.pathogan.slices) implements the rules.
Layouts as for `data_prep.brats`. The training lists contain no masks: the list that a slice is in is its only label.
--labelled adds the masks, for a supervised reference only.

The whole head is prepared, since masks are written for the whole head: what a network has never seen, it marks. The
paper's 60 to 100 mm, with which large tumours may leave few healthy slices: --first 60 --last 100.

Patients are split 80/10/10 %, stratified by grade. The paper appears to split slices: --split slices draws 1,500 of
1,755 healthy slices and 6,000 of 9,413 with tumour for training and tests on the rest, from the same patients.

BraTS 2017 (285 patients, 11,168 slices, 4 channels) takes 5.8 GB on disk at the paper's 1 mm (--pixdim 1 --size 240
240), 0.2 GB at 3 mm with slices of 80 x 80; 1 GB of memory per worker either way.

    python -m data_prep.brats_slices --data BRATS --out OUT
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from transeg.errors import UserError
from transeg.methods.pathogan.slices import ImageLevelSlices

from data_prep.brats import channels_of, find_brains, tumour_values
from data_prep.cases import prepare_cases, run_command
from data_prep.options import (
    Channels,
    Data,
    Labelled,
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
    ZeroBackground,
    names_of,
    record_options,
)
from data_prep.splits import split_labelled


def split_slices(lists: dict[str, list[dict]], presence: float, absence: float, seed: int) -> None:
    """Keep a random fraction of the training slices and move the rest, of the same patients, to the test lists.

    Args:
        lists: slices by list, changed in place; slices with tumour that move get the label of their case.
        presence: fraction of the slices with tumour to keep, in (0, 1).
        absence: fraction of the slices without tumour to keep, in (0, 1).
        seed: random seed.

    Raises:
        ValueError: a fraction outside (0, 1).
    """
    if not (0 < presence < 1 and 0 < absence < 1):
        raise UserError(f"--training-presence {presence:g}, --training-absence {absence:g}: must lie between 0 and 1")
    rng = np.random.default_rng((seed, 2))
    for suffix, share in (("", presence), ("_absence", absence)):
        items = lists["training" + suffix]
        stays = np.zeros(len(items), bool)
        stays[rng.permutation(len(items))[: round(share * len(items))]] = True
        moved = [item for item, stay in zip(items, stays, strict=True) if not stay]
        if not suffix:
            moved = [item | {"label": f"labels/{item['case']}.npy"} for item in moved]
        lists["training" + suffix] = [item for item, stay in zip(items, stays, strict=True) if stay]
        lists["test" + suffix] += moved


def prepare(
    data: Data,
    out: Out,
    channels: Channels = "flair,t1c,t1,t2",
    pattern: Patterns = None,
    labels: Labels = None,
    pixdim: Pixdim = 3.0,
    size: SliceSize = (80, 80),
    first: Annotated[float, typer.Option(help="Lowest slice, in mm above the bottom of the volume.")] = 0.0,
    last: Annotated[
        float | None, typer.Option(help="Highest slice, in mm above the bottom of the volume (default: all).")
    ] = None,
    min_tumour: Annotated[float, typer.Option(help="Minimum tumour area in mm^2.")] = 20.0,
    zero_background: ZeroBackground = False,
    split: Annotated[
        Literal["patients", "slices"], typer.Option(help="Unit of the train/test split; the paper split by slice.")
    ] = "patients",
    training_presence: Annotated[
        float, typer.Option(help="Training fraction of the slices with tumour (--split slices only).")
    ] = 6000 / 9413,
    training_absence: Annotated[
        float, typer.Option(help="Training fraction of the slices without tumour (--split slices only).")
    ] = 1500 / 1755,
    validation: Validation = 0.1,
    test: Test = 0.1,
    validation_cases: ValidationCases = "",
    test_cases: TestCases = "",
    labelled: Labelled = False,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare axial slices with and without tumour from BraTS volumes, for training from slice-level labels.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("brats_slices", locals())
    by_slice = split == "slices"
    if by_slice and test_cases:
        raise UserError("--test-cases selects patients, --split slices selects slices; use only one of them")
    names = channels_of(channels)
    cases = find_brains(data, names, pattern)
    recipe = {
        "method": "pathogan",
        "channels": names,
        "image_size": size,
        "pixdim": pixdim,
        "labels": ("background", "tumour"),
        "label_values": tumour_values(cases, labels),
        "first": first,
        "last": last,
        "min_lesion": min_tumour,
        "num_std": 3.0,
        "zero_background": zero_background,
    }
    chosen = names_of(validation_cases), names_of(test_cases)
    splits = split_labelled(cases, validation, 0 if by_slice else test, seed, *chosen)
    if by_slice:
        print(
            "warning: split by slice, so training and test contain neighbouring slices of the same patients; scores "
            "will be optimistic and say nothing about new patients"
        )
    move_slices = partial(split_slices, presence=training_presence, absence=training_absence, seed=seed)
    return prepare_cases(
        cases,
        splits,
        ImageLevelSlices(recipe),
        out,
        labelled_fraction=1.0,
        labelled_count=None if labelled else 0,
        seed=seed,
        workers=workers,
        arrange=move_slices if by_slice else None,
        name="BraTS slices" + (", labelled for a supervised reference" if labelled else ""),
        description="Brain tumour segmentation; axial slices of brain MR with and without tumour.",
        recipe=recipe,
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
