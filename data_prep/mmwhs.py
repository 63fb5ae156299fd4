"""Cardiac CT and MR of different patients: volumes around the heart with the five regions of the paper.

Source: Zhang, Yang, Zheng 2018, section 5.1; `cardiac_preprocessing` (transeg.methods.cardiac.preprocessing) crops and
scales. The two modalities are split separately, with half of the patients for testing. S1: equal numbers of CT and MR
volumes (drawn from the larger set). S2: volumes unused by S1 are added to training, all (--extra 1) or a fraction; the
test sets stay those of S1. --real-fraction 0.14 --fraction-of mr keeps 14 % of the real MR training volumes; the others
go to `held_back_mr`, for comparison with as many real volumes. For a given seed, smaller fractions are subsets of
larger ones.

Layout: MM-WHS as published, ct_train/ct_train_1001_image.nii.gz with _label.nii.gz, mr_train likewise, in any folder;
one patient per file. Files without a label are skipped unless --unlabelled is given; they are then cropped around the
heart located by `find_heart` and trained on without a label. --unlabelled-domain mr hides the labels of the MR volumes
for training and validation, so that only labels of CT are learned from; those for testing keep theirs.

A volume of the paper's size takes 3.2 MB on disk (the 40 of MM-WHS 0.13 GB), one of 42 x 42 x 33 at 4 mm 0.2 MB.

    python -m data_prep.mmwhs --data MMWHS --out OUT
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from transeg.data.table import Case
from transeg.errors import UserError
from transeg.methods.cardiac.recipe import HEART

from data_prep.cases import run_command
from data_prep.domain_volumes import prepare_domains, scans_of_domains
from data_prep.options import (
    Data,
    Labels,
    Out,
    Pixdim,
    Seed,
    Test,
    Validation,
    VolumeSize,
    Workers,
    assign_values,
    record_options,
)
from data_prep.splits import split_patients

MODALITIES = tuple(HEART["domains"])


def find_hearts(folder: Path) -> list[Case]:
    """Scans of both modalities, which are their domains, see `find_cases`; in the order of their files.

    Raises:
        DataError: no scan of a modality.
    """
    advice = "check --data or name the files as in MM-WHS"
    cases = scans_of_domains(folder, HEART, lambda modality: f"no file {modality}_..._image.nii.gz found; {advice}")
    return sorted(cases, key=lambda case: Path(next(iter(case.images.values()))))


def choose_roles(
    cases: Sequence[Case],
    validation: float,
    test: float,
    real_fraction: Mapping[str, float],
    extra: float,
    seed: int,
    unlabelled: bool = False,
) -> dict[str, str]:
    """Assign a role to each labelled scan.

    Args:
        cases: cases of both modalities.
        validation: fraction (below 1) or number of the S1 patients of each modality.
        test: fraction or number, likewise.
        real_fraction: by modality, fraction of the S1 training volumes to keep, at least one; the others are
            "held_back".
        extra: fraction of the volumes unused by S1 to add to training.
        seed: random seed of all draws.
        unlabelled: train on scans without a label too; if no scan of a modality has one, these are split.

    Returns:
        Role by case name; unused cases have none.

    Raises:
        ValueError: a fraction out of range, a modality without labels, or no patient left for training.
    """
    for fraction in real_fraction.values():
        if not 0 < fraction <= 1:
            raise UserError(f"--real-fraction {fraction:g} is out of range: above 0, at most 1")
    if not 0 <= extra <= 1:
        raise UserError(f"--extra {extra:g} is out of range: 0 to 1")
    scans = {m: [case for case in cases if case.domain == m] for m in MODALITIES}
    labelled = {m: [case for case in found if case.label] for m, found in scans.items()}
    if not (any if unlabelled else all)(labelled.values()):
        raise UserError(
            "a modality has no label file (_label.nii.gz); check --data, or add --unlabelled to learn from the labels "
            "of the other"
        )
    labelled = {m: found or scans[m] for m, found in labelled.items()}
    count = min(len(found) for found in labelled.values())
    roles: dict[str, str] = {}
    for stream, (modality, found) in enumerate(labelled.items()):
        drawn = np.random.default_rng((seed, 3, stream)).permutation(len(found)).tolist()
        first = [found[i] for i in sorted(drawn[:count])]
        splits = split_patients(first, validation, test, seed)
        training = [name for name, split in splits.items() if split == "training"]
        order = np.random.default_rng((seed, 4, stream)).permutation(training).tolist()
        kept = max(1, round(real_fraction.get(modality, 1.0) * len(order)))
        rest = [found[i].name for i in drawn[count:]]
        roles |= splits | dict.fromkeys(order[kept:], "held_back")
        roles |= dict.fromkeys(rest[: round(extra * len(rest))], "training")
    bare = [case.name for case in cases if case.name not in roles and not case.label]
    return roles | (dict.fromkeys(bare, "training") if unlabelled else {})


def prepare(
    data: Data,
    out: Out,
    labels: Labels = None,
    pixdim: Pixdim = 1.5,
    size: VolumeSize = (112, 112, 86),
    validation: Validation = 0.1,
    test: Test = 0.5,
    real_fraction: Annotated[float, typer.Option(help="Fraction of the real training volumes to keep.")] = 1.0,
    fraction_of: Annotated[
        Literal["ct", "mr", "both"], typer.Option(help="Modality that --real-fraction applies to.")
    ] = "both",
    extra: Annotated[
        float, typer.Option(help="Fraction of the volumes unused by S1 to add to training (S2: 1).")
    ] = 0.0,
    unlabelled: Annotated[bool, typer.Option(help="Train on scans without a label too.")] = False,
    unlabelled_domain: Annotated[
        Literal["ct", "mr"] | None,
        typer.Option(help="Hide the labels of this domain, except those for testing."),
    ] = None,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare volumes around the heart from CT and MR scans.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("mmwhs", locals())
    found = find_hearts(data)
    reduced = MODALITIES if fraction_of == "both" else (fraction_of,)
    roles = choose_roles(found, validation, test, dict.fromkeys(reduced, real_fraction), extra, seed, unlabelled)
    return prepare_domains(
        found,
        roles,
        out,
        HEART | {"pixdim": pixdim, "image_size": size, "label_values": assign_values(HEART["label_values"], labels)},
        unlabelled_domain=unlabelled_domain,
        further_roles=("held_back",),
        name="Heart volumes",
        description="Segmentation of chambers and myocardium; CT and MR of different patients, cropped to the heart.",
        options=options,
        seed=seed,
        workers=workers,
    )


if __name__ == "__main__":
    run_command(prepare)
