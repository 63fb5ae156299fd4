"""Cardiac CT and MR of different patients: volumes around the heart with the five regions of the paper.

Source: Zhang, Yang, Zheng 2018, section 5.1; `cardiac_preprocessing` (transeg.methods.cardiac.preprocessing) crops and
scales. The two modalities are split separately, with half of the patients for testing. S1: equal numbers of CT and MR
volumes (drawn from the larger set). S2: volumes unused by S1 are added to training, all (--extra 1) or a fraction; the
test sets stay those of S1. --real-fraction 0.14 --fraction-of mr keeps 14 % of the real MR training volumes; the others
go to `held_back_mr`, for comparison with as many real volumes. For a given seed, smaller fractions are subsets of
larger ones.

Layout: MM-WHS as published, ct_train/ct_train_1001_image.nii.gz with _label.nii.gz, mr_train likewise, in any folder;
one patient per file. Files without a label are skipped unless --unlabelled is given; they are then cropped around the
heart located by `find_heart` and listed as `unlabelled_ct` and `unlabelled_mr`.

A volume of the paper's size takes 3.2 MB on disk (the 40 of MM-WHS 0.13 GB), one of 42 x 42 x 33 at 4 mm 0.2 MB.

    python -m data_prep.mmwhs --data MMWHS --out OUT
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from transeg.data.datalist import write_datalist
from transeg.data.slices import CaseSlices
from transeg.data.table import Case
from transeg.errors import DataError, UserError
from transeg.methods.cardiac.modality import HU_RANGE, MODALITIES, PERCENTILES
from transeg.methods.cardiac.preprocessing import HEART_CLASSES
from transeg.methods.cardiac.volumes import CardiacVolumes

from data_prep.cases import Kept, raise_failed, run_command, scans_below, write_cases
from data_prep.options import Data, Out, Pixdim, Seed, Test, Validation, VolumeSize, Workers, record_options
from data_prep.splits import split_patients

CHANNELS = ("image",)
ROLES = ("training", "held_back", "validation", "test", "unlabelled")


def find_hearts(folder: Path) -> list[Case]:
    """Scans of both modalities, which are their domains, see `find_cases`; in the order of their files.

    Raises:
        DataError: no scan of a modality.
    """
    cases = [case for case in scans_below(folder, CHANNELS) if case.domain in MODALITIES]
    for modality in MODALITIES:
        if not any(case.domain == modality for case in cases):
            raise DataError(
                f"{folder}: no file {modality}_..._image.nii.gz found; check --data or name the files as in MM-WHS"
            )
    return sorted(cases, key=lambda case: Path(next(iter(case.images.values()))))


def choose_roles(
    cases: Sequence[Case],
    validation: float,
    test: float,
    real_fraction: Mapping[str, float],
    extra: float,
    seed: int,
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
    labelled = {m: [case for case in cases if case.domain == m and case.label] for m in MODALITIES}
    if not all(labelled.values()):
        raise UserError("a modality has no label file (_label.nii.gz); check --data")
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
    return roles


class _ByModality:
    """Extracts the volume of a CT or MR case; picklable."""

    def __init__(self, pixdim: float, size: Sequence[int]) -> None:
        self.extractors = {modality: CardiacVolumes(modality, pixdim, size) for modality in MODALITIES}

    def __call__(self, case: Case) -> CaseSlices:
        return self.extractors[case.domain](case.item(CHANNELS))


def _lists(cases: Sequence[Case], roles: Mapping[str, str], kept: Mapping[str, Kept], out: Path) -> dict[str, list]:
    """Lists of the prepared volumes by role and modality, and of their source files with the suffix "_volumes"."""
    lists: dict[str, list[dict[str, Any]]] = {f"{role}_{m}": [] for role in ROLES for m in MODALITIES}
    volumes: dict[str, list[dict[str, Any]]] = {f"{key}_volumes": [] for key in lists}
    for case in (case for case in cases if case.name in kept):
        key = f"{roles[case.name]}_{case.domain}"
        label = {"label": f"labels/{case.name}.npy"} if case.label else {}
        lists[key] += [item | label for item in kept[case.name].presence]
        volumes[f"{key}_volumes"].append(case.item(CHANNELS, out) | {"modality": case.domain})
    return lists | volumes


def _print_summary(lists: Mapping[str, Sequence], unused: Sequence[str]) -> None:
    print(f"{'':12}{'CT':>6}{'MR':>6}")
    for role in ROLES:
        print(f"{role:12}" + "".join(f"{len(lists[f'{role}_{modality}']):6}" for modality in MODALITIES))
    if unused:
        print(f"not used: {len(unused)} (not in S1, or without a label; see --extra and --unlabelled)")


def prepare(
    data: Data,
    out: Out,
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
    unlabelled: Annotated[bool, typer.Option(help="Also prepare scans without a label.")] = False,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare volumes around the heart from CT and MR scans.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("mmwhs", locals())
    found = find_hearts(data)
    reduced = MODALITIES if fraction_of == "both" else (fraction_of,)
    roles = choose_roles(found, validation, test, dict.fromkeys(reduced, real_fraction), extra, seed)
    if unlabelled:
        roles |= dict.fromkeys((case.name for case in found if not case.label), "unlabelled")
    cases = [case for case in found if case.name in roles]
    out.mkdir(parents=True, exist_ok=True)
    path = out / "datalist.json"
    path.unlink(missing_ok=True)  # an incomplete folder is no data set
    kept, failed = write_cases(cases, _ByModality(pixdim, size), out, workers)
    lists = _lists(cases, roles, kept, out)
    write_datalist(
        path,
        lists,
        name="Heart volumes",
        description="Segmentation of chambers and myocardium; CT and MR of different patients, cropped to the heart.",
        recipe={
            "method": "cardiac",
            "channels": CHANNELS,  # CT or MR, as the item's "modality" says
            "image_size": size,
            "pixdim": pixdim,
            "labels": HEART_CLASSES,
            "hu_range": HU_RANGE,
            "percentiles": PERCENTILES,
        },
        preparation={
            "options": options,
            "seed": seed,
            "kept": {key: len(items) for key, items in lists.items()},
            "roles": roles,
            "failed": failed,
        },
        dimensions=3,
    )
    _print_summary(lists, [case.name for case in found if case.name not in roles])
    print(f"wrote {path}")
    raise_failed(failed, len(cases))
    if not (lists["training_ct"] and lists["training_mr"]):
        raise UserError("a modality has no training volume; add volumes or reduce validation and test")
    return path


if __name__ == "__main__":
    run_command(prepare)
