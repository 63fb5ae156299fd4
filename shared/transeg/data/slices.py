"""The slices of one case: in memory, and as stacks with the items that address them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transeg.data.datalist import write_stack


class CaseSlices(NamedTuple):
    """What is kept of one case, and how much is not."""

    images: np.ndarray  # (N, C, X, Y)
    labels: np.ndarray  # (N, X, Y) 0 or 1
    fields: list[dict[str, Any]]  # for each slice what its item says beside the file names, such as {"z": 60}
    dropped: dict[str, int]  # reason -> slices


def write_slices(folder: Path, case: str, slices: CaseSlices) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write `images/<case>.npy` (float16) and `labels/<case>.npy` (uint8).

    Returns:
        Items of the slices with a lesion and of those without, paths relative to the folder, none with a "label".
    """
    if len(slices.fields):
        for kind, (stack, dtype) in {
            "images": (slices.images, np.float16),
            "labels": (slices.labels, np.uint8),
        }.items():
            write_stack(folder / kind / f"{case}.npy", [stack], stack.shape, dtype)
    presence, absence = [], []
    for index, (fields, label) in enumerate(zip(slices.fields, slices.labels, strict=True)):
        item = {"image": f"images/{case}.npy", "index": index, "case": case, **fields}
        (presence if label.any() else absence).append(item)
    return presence, absence
