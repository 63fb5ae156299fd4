"""The slices of one case: in memory, and as stacks with the items that address them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from transeg.data.datalist import write_stack


class CaseSlices(NamedTuple):
    """What is kept of one case, and how much is not."""

    images: np.ndarray  # (N, C, X, Y)
    labels: np.ndarray | None  # (N, X, Y) 0 or 1; None where the case has no label
    fields: list[dict[str, Any]]  # for each slice what its item says beside the file names, such as {"z": 60}
    dropped: dict[str, int]  # reason -> slices
    present: bool | None = None  # whether the case shows the disease; None: each slice on its own, by its label


def write_slices(folder: Path, case: str, slices: CaseSlices) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Write `images/<case>.npy` (float16) and `labels/<case>.npy` (uint8).

    Returns:
        Items of the slices with the disease and of those without, paths relative to the folder, none with a "label".
    """
    if len(slices.fields):
        for kind, stack, dtype in (("images", slices.images, np.float16), ("labels", slices.labels, np.uint8)):
            if stack is not None:
                write_stack(folder / kind / f"{case}.npy", [stack], stack.shape, dtype)
    presence, absence = [], []
    for index, fields in enumerate(slices.fields):
        item = {"image": f"images/{case}.npy", "index": index, "case": case, **fields}
        present = slices.labels[index].any() if slices.present is None else slices.present
        (presence if present else absence).append(item)
    return presence, absence
