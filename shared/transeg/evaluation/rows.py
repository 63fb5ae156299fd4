"""Rows of an evaluation: one for each method, run, case and structure."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from transeg.files import write_csv
from transeg.metrics.scores import MaskScore, score_mask
from transeg.transforms.preprocessing import scan_slice_axis

Row = dict[str, Any]
MISSING, EMPTY = "missing", "empty"  # of a mask, where the reference shows the structure
# "mask" is one of these or empty; "seen" is how the training saw the case, see `transeg.data.training_cases`
COLUMNS = ("method", "run", "case", "patient", "structure", "mask", "seen", *MaskScore._fields)
METHOD = "masks"  # name of the masks of a bundle's own evaluation
EMPTY_MASK, MEAN_SHAPE = "empty mask", "mean shape"  # names of the trivial baselines


def score_case(
    prediction: np.ndarray | None,
    reference: np.ndarray,
    affine: np.ndarray,
    recipe: Mapping[str, Any],
    **about: Any,
) -> list[Row]:
    """Rows of a case, one for each structure.

    Args:
        prediction: classes (X, Y, Z); None: there is no mask.
        reference: classes of the same shape.
        affine: of both (4, 4).
        recipe: "labels", names by class, background first; "axis" of the slices.
        about: further columns, at least method, run, case and patient.
    """
    spacing, slices = nib.affines.voxel_sizes(affine).tolist(), scan_slice_axis(affine, recipe)
    rows = []
    for k, structure in enumerate(recipe["labels"][1:], 1):
        score = score_mask(None if prediction is None else prediction == k, reference == k, spacing, slices)
        missed = "" if score.ml or not score.reference_ml else EMPTY if prediction is not None else MISSING
        rows.append({"seen": "", **about, "structure": structure, "mask": missed, **score._asdict()})
    return rows


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows as a CSV table; what is not defined is an empty cell."""
    write_csv(path, COLUMNS, [{name: _cell(row[name]) for name in COLUMNS} for row in rows])


def read_rows(path: Path) -> list[Row]:
    """Read a table that `write_rows` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: list[Row] = list(csv.DictReader(file))
    for row in rows:
        row |= {name: float(row[name] or "nan") for name in MaskScore._fields} | {"run": int(row["run"])}
    return rows


def read_dice(path: Path) -> dict[str, list[float]]:
    """Dice of each case by structure, from the table of a bundle's own evaluation; NaN without the structure."""
    found: dict[str, list[float]] = {}
    for row in read_rows(path):
        if row["method"] == METHOD:
            found.setdefault(row["structure"], []).append(row["dice"])
    return found


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if np.isnan(value) else round(value, 6)
    return value
