"""BraTS brain MR: volumes to whole axial slices with and without tumour, told apart by one yes or no for each slice.

Source: Andermatt et al. 2018, section 2.5; the rules are those of `BrainSlices` (transeg.methods.pathogan.slices).
Layouts of the data as for `data_prep.brats`. The lists for training hold no label: which of the two lists a slice is in
is all that the training is told. --labelled gives the training slices theirs, for a supervised reference only.
Large tumours of few patients may fill the paper's range, 60 to 100 mm: widen --first and --last for healthy slices.

Patients are split 80/10/10 % with the grades in proportion. The paper reads as if it split slices: --split slices draws
1,500 of 1,755 healthy slices and 6,000 of 9,413 with tumour for training and tests on the others, of the same patients.

BraTS 2017 (285 patients, 11,168 slices, 4 channels): at 1 mm (--pixdim 1 --size 240 240) 5.8 GB on disk, at 3 mm with
slices of 80 x 80 0.2 GB; 1 GB resident for each worker either way.

    python -m data_prep.brats_slices --data BRATS --out OUT
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from transeg.errors import UserError
from transeg.methods.pathogan.slices import BrainSlices

from data_prep.brats import channels_of, cut_case, find_cases, patterns_of
from data_prep.cases import names_of, prepare_cases, run_command
from data_prep.splits import split_patients


def split_slices(lists: dict[str, list[dict]], presence: float, absence: float, seed: int) -> None:
    """Keep a random share of the training slices and move the others, of the same patients, to test.

    Args:
        lists: of slices, changed in place; those with tumour that move get the label of their case.
        presence: share of the slices with tumour to keep, in (0, 1).
        absence: share of those without.
        seed: of the draw.

    Raises:
        ValueError: a share outside (0, 1).
    """
    if not (0 < presence < 1 and 0 < absence < 1):
        raise UserError(f"shares of the slices for training: {presence:g} and {absence:g}, must lie between 0 and 1")
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
    data: Annotated[Path, typer.Option(help="Folder of the cases, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    channels: Annotated[str, typer.Option(help="Any of flair, t1c, t1, t2; always in this order.")] = "flair,t1c,t1,t2",
    pattern: Annotated[
        list[str] | None, typer.Option(help="File names of a channel, label or mask, such as flair='*Flair*'. Repeat.")
    ] = None,
    pixdim: Annotated[float, typer.Option(help="Voxel size in mm; paper: 1.")] = 3.0,
    size: Annotated[tuple[int, int], typer.Option(help="Voxels of a slice; paper: 240 240.")] = (80, 80),
    first: Annotated[float, typer.Option(help="Lowest slice, in mm above the lowest of the volume.")] = 60.0,
    last: Annotated[float, typer.Option(help="Highest slice, likewise.")] = 100.0,
    min_tumour: Annotated[float, typer.Option(help="Area in mm^2 that a tumour must exceed.")] = 20.0,
    zero_background: Annotated[
        bool, typer.Option(help="Keep the background 0 instead of mapping it like the brain.")
    ] = False,
    split: Annotated[
        Literal["patients", "slices"],
        typer.Option(help="What is drawn for testing; slices as published."),
    ] = "patients",
    training_presence: Annotated[
        float, typer.Option(help="Share of the slices with tumour for training, with --split slices.")
    ] = 6000 / 9413,
    training_absence: Annotated[float, typer.Option(help="Share of the healthy slices, likewise.")] = 1500 / 1755,
    validation: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.1,
    test: Annotated[float, typer.Option(help="Likewise; not with --split slices.")] = 0.1,
    validation_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    test_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    labelled: Annotated[bool, typer.Option(help="Labels for training, for a supervised reference only.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> Path:
    """Make whole slices with and without tumour from BraTS volumes, for training without any label.

    Bad cases are listed at the end and the others are done; the exit status is then 1.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    by_slice = split == "slices"
    if by_slice and test_cases:
        raise UserError("--test-cases chooses patients and --split slices draws slices; leave one of them out")
    names = channels_of(channels)
    cut = BrainSlices(len(names), pixdim, size, first, last, min_tumour, zero_background)
    cases = find_cases(data, names, patterns_of(pattern or ()))
    chosen = names_of(validation_cases), names_of(test_cases)
    splits = split_patients(cases, validation, 0 if by_slice else test, seed, *chosen)
    if by_slice:
        print(
            "warning: split by slice, so training and test hold neighbouring slices of the same patients; the scores "
            "will be too good and tell nothing of new patients"
        )
    return prepare_cases(
        cases,
        splits,
        partial(cut_case, cut=cut),
        out,
        labelled_fraction=1.0,
        labelled_count=None if labelled else 0,
        seed=seed,
        workers=workers,
        arrange=partial(split_slices, presence=training_presence, absence=training_absence, seed=seed)
        if by_slice
        else None,
        name="BraTS slices" + (", labelled for a supervised reference" if labelled else ""),
        description="Segment brain tumours; axial slices of brain MR with and without tumour.",
        modality=names,
        labels=("background", "tumour"),
        options={"command": "brats_slices", **options},
    )


if __name__ == "__main__":
    run_command(prepare)
