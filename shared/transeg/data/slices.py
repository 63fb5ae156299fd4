"""Slices of one case: in memory, and as stacks with the items that refer to them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transeg.data.datalist import write_stack


class CaseSlices(NamedTuple):
    """Slices kept of one case, and counts of those dropped."""

    images: np.ndarray  # (N, C, X, Y)
    labels: np.ndarray | None  # (N, X, Y), 0 or 1; None if the case has no label
    fields: list[dict[str, Any]]  # per slice, further fields of its item, such as {"z": 60}
    dropped: dict[str, int]  # reason -> number of slices
    present: np.ndarray | bool | None = None  # whether each (N,) or all show the disease; None: decided by the labels
    features: np.ndarray | None = None  # that describe the whole scan, see `transeg.transforms.familiarity`


def write_slices(folder: Path, case: str, slices: CaseSlices) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write `images/<case>.npy` (float16) and `labels/<case>.npy` (uint8).

    Returns:
        Items of slices with the disease and of those without, paths relative to the folder, without "label".
    """
    if len(slices.fields):
        for kind, stack, dtype in (("images", slices.images, np.float16), ("labels", slices.labels, np.uint8)):
            if stack is not None:
                write_stack(folder / kind / f"{case}.npy", [stack], stack.shape, dtype)
    presence: list[dict[str, Any]] = []
    absence: list[dict[str, Any]] = []
    for index, fields in enumerate(slices.fields):
        item = {"image": f"images/{case}.npy", "index": index, "case": case, **fields}
        (presence if _is_present(slices, index) else absence).append(item)
    return presence, absence


def _is_present(slices: CaseSlices, index: int) -> bool:
    if isinstance(slices.present, np.ndarray):
        return bool(slices.present[index])
    if slices.present is not None:
        return slices.present
    assert slices.labels is not None, "a case without a label must say whether it shows the disease"
    return bool(slices.labels[index].any())


def slices_between(count: int, thickness: float, first: float, last: float | None) -> list[int]:
    """Slices from `first` to `last`, both included, in mm above the bottom slice.

    Args:
        count: slices of the volume.
        thickness: distance between neighbours in mm.
        first: in mm.
        last: in mm; None for all above `first`.
    """
    heights = np.arange(count) * thickness
    return np.flatnonzero((heights > first - 1e-3) & (heights < (math.inf if last is None else last) + 1e-3)).tolist()
