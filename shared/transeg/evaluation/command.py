"""`transeg evaluate`: written masks compared with reference masks."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from tqdm import tqdm

from transeg.data.recipe import Recipe, parse_labels
from transeg.data.training_cases import USES, check_unseen
from transeg.errors import BatchError, DataError, listed, reason, root_cause
from transeg.evaluation.masks import MaskFolder, Method, read_methods
from transeg.evaluation.references import Reference, read_classes, read_mask, read_references
from transeg.evaluation.rows import EMPTY_MASK, MEAN_SHAPE, Row, score_case
from transeg.evaluation.shapes import MeanShapes
from transeg.evaluation.summary import summarise, write_evaluation
from transeg.files import EVALUATION

logger = logging.getLogger(__name__)

NAMED = 10  # cases in a message


def evaluate(
    masks: Annotated[
        list[str],
        typer.Argument(
            help="Folder of masks, such as `transeg segment` writes; further ones are compared with it. NAME=FOLDER "
            "names a method, FOLDER,FOLDER are its runs (seeds)."
        ),
    ],
    data: Annotated[
        Path, typer.Option(help="Reference masks: prepared data, a table cases.csv, or a folder of masks.")
    ],
    split: Annotated[str, typer.Option(help="Cases to evaluate on, where the data are split.")] = "test",
    labels: Annotated[
        list[str] | None,
        typer.Option(help="Values of a structure in the reference masks, NAME=VALUE,VALUE (default: as in training)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder (default: the first folder of masks).")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Score cases that the weights were trained on as well.")
    ] = False,
) -> None:
    """Score masks against reference masks; every case with a reference counts.

    Writes evaluation.csv (every case), evaluation.json and evaluation.md: a table of means with intervals over
    patients, differences of the first method to the others, and the scores of an empty mask and a mean shape.
    """
    methods = read_methods(masks)
    run_evaluation(methods, data, out or methods[0].runs[0].path, split, parse_labels(labels or ()), force)


def run_evaluation(
    methods: Sequence[Method],
    data: Path,
    out: Path,
    split: str = "test",
    values: Mapping[str, Sequence[int]] | None = None,
    force: bool = False,
) -> None:
    """Score methods, write the evaluation and print its table.

    Args:
        methods: the first one is compared with the others.
        data: see `read_references`.
        out: output folder.
        split: see `read_references`.
        values: see `read_references`.
        force: score cases that weights were trained on as well; the evaluation says so.

    Raises:
        DataError: nothing to compare, weights of different structures, or a case that was trained on.
        BatchError: references or masks that cannot be used; all others are scored, and such a mask counts as missing.
    """
    folders = [folder for method in methods for folder in method.runs]
    references, recipe = read_references(data, split, _recipe_of(folders), values or {})
    references = [_with_spacing(reference, folders) for reference in references]
    cases = [reference.case for reference in references]
    seen = _check_masks(folders, cases, data, force)
    failures: dict[str, str] = {}
    rows: list[Row] = []
    used = 0  # masks
    shapes, read = MeanShapes(len(recipe["labels"])), []
    for reference in tqdm(references, desc="scoring", unit="case", disable=None, file=sys.stderr):
        try:
            truth, affine = read_classes(reference, recipe)
        except Exception as error:
            failures[reference.case] = reason(root_cause(error))
            continue
        about = {"case": reference.case, "patient": reference.patient, "seen": seen.get(reference.case, "")}
        for method in methods:
            for number, folder in enumerate(method.runs, 1):
                mask = _read(folder, reference, recipe, failures)
                used += mask is not None
                rows += score_case(mask, truth, affine, recipe, method=method.name, run=number, **about)
        rows += score_case(np.zeros_like(truth), truth, affine, recipe, method=EMPTY_MASK, run=1, **about)
        shapes.add(reference.patient, truth, affine)
        read.append(reference)
    if not used:
        raise BatchError(_report(failures))
    if shapes.say_something():
        for reference in read:
            truth, affine = read_classes(reference, recipe)
            shape = shapes.predict(reference.patient, truth.shape, affine)
            about = {"case": reference.case, "patient": reference.patient, "seen": seen.get(reference.case, "")}
            rows += score_case(shape, truth, affine, recipe, method=MEAN_SHAPE, run=1, **about)
    places = {method.name: [str(folder.path) for folder in method.runs] for method in methods}
    first = methods[0].name
    about = {"masks": places, "data": str(data), "split": split}
    text = write_evaluation(out, rows, summarise(rows, first), first, _notes(folders, rows), **about)
    print(f"{text}\n{', '.join(EVALUATION)} are in {out}")
    if failures:
        raise BatchError(_report(failures))


def _report(failures: Mapping[str, str]) -> str:
    """Of references by case, and of masks by file."""
    listed = (f"{where}: {why}" for where, why in sorted(failures.items()))
    return "\n  ".join([f"{len(failures)} masks cannot be used; such a mask counts as missing:", *listed])


def _with_spacing(reference: Reference, folders: Sequence[MaskFolder]) -> Reference:
    """A reference of slices without a voxel size with that of its mask."""
    known = (folder.spacing(reference.case) for folder in folders)
    return reference if reference.spacing else reference._replace(spacing=next(filter(None, known), None))


def _recipe_of(folders: Sequence[MaskFolder]) -> Recipe | None:
    known = {str(folder.path): folder.recipe for folder in folders if folder.recipe is not None}
    labels = {tuple(recipe["labels"]) for recipe in known.values()}
    if len(labels) > 1:
        raise DataError(f"{', '.join(known)}: masks of different structures; evaluate them separately")
    return next(iter(known.values()), None)


def _check_masks(folders: Sequence[MaskFolder], cases: Sequence[str], data: Path, force: bool) -> dict[str, str]:
    """Refuse folders without a mask of any case, and cases that were trained on; use by case."""
    every: dict[str, str] = {}
    for folder in folders:
        if not any(folder.mask_of(case) for case in cases):
            raise DataError(
                f"{folder.path}: no mask of the {len(cases)} cases of {data}, such as {cases[0]}_seg.nii.gz; masks are "
                "named after the cases of the data"
            )
        seen = folder.seen(cases)
        remedy = "name data or a --split that the weights have not seen, or --force to score them all the same"
        check_unseen(str(folder.path), seen, len(cases), force, remedy)
        for case, use in seen.items():
            every[case] = min(use, every.get(case, use), key=[*USES].index)
    return every


def _read(folder: MaskFolder, reference: Reference, recipe: Recipe, failures: dict[str, str]) -> np.ndarray | None:
    """The mask of a case; None, which counts, if there is none that can be used."""
    path = folder.mask_of(reference.case)
    if path is None:
        return None
    try:
        return read_mask(path, reference, recipe)
    except Exception as error:
        failures[str(path)] = reason(root_cause(error))
        return None


def _notes(folders: Sequence[MaskFolder], rows: Iterable[Row]) -> list[str]:
    """What is missing, and what is not known."""
    scored = {row["case"] for row in rows}
    notes = []
    for folder in folders:
        missing = sorted(case for case in scored if folder.mask_of(case) is None)
        if missing:
            notes.append(
                f"{folder.path} has no mask of {len(missing)} of {len(scored)} cases, which count as empty masks: "
                f"{listed(missing, NAMED)}."
            )
        if not folder.knows_training_cases:
            notes.append(
                f"What the weights of {folder.path} were trained on is not recorded: check that these cases are others."
            )
    return notes
