"""Load single slices from memory-mapped stacks."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple

from transeg.errors import DataError


class LoadSliced(MapTransform):
    """Load slice "index" of an item's stacks.

    Images (N, C, X, Y) become float32 (C, X, Y), uint8 scaled by 1/255; labels (N, X, Y) become float32 (1, X, Y),
    binarised (label > 0). A missing label becomes zeros; "labelled" says whether the first label was present. Plain
    tensors, since slices need no affine. Stacks of whole volumes have one more axis. MONAI's readers load whole files.

    Args:
        keys: images.
        label_keys: labels, of the size of the first image.
        spatial_dims: 2 for slices, 3 for volumes.
        classes: keep label values instead of binarising.

    Raises:
        DataError: not a stack of the expected shape, or index out of range.
    """

    def __init__(
        self,
        keys: KeysCollection = ("image",),
        label_keys: KeysCollection = ("label",),
        spatial_dims: int = 2,
        classes: bool = False,
    ) -> None:
        super().__init__(keys)
        self.label_keys, self.spatial_dims, self.classes = ensure_tuple(label_keys), spatial_dims, classes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with tensors instead of file names."""
        item = dict(data)
        index = item["index"]
        for key in self.keys:
            part = _slice(item[key], index, self.spatial_dims + 2)
            image = torch.from_numpy(part.astype(np.float32))
            item[key] = image.div_(255) if part.dtype == np.uint8 else image
        if self.label_keys:
            item["labelled"] = self.label_keys[0] in item
        for key in self.label_keys:
            if key in item:
                label = _slice(item[key], index, self.spatial_dims + 1)
                item[key] = torch.from_numpy((label if self.classes else label > 0).astype(np.float32))[None]
            else:
                item[key] = torch.zeros(1, *item[self.keys[0]].shape[1:])
        return item


def _slice(path: str, index: int, ndim: int) -> np.ndarray:
    stack = _open(path, os.stat(path).st_mtime_ns)
    if stack.ndim != ndim:
        raise DataError(f"{path}: {stack.ndim} axes instead of {ndim}; prepare the data again")
    if not 0 <= index < len(stack):
        raise DataError(f"{path}: no slice {index}, the stack holds {len(stack)}; prepare the data again")
    return stack[index]


@lru_cache(maxsize=256)  # each open memory map holds a file descriptor
def _open(path: str, modified: int) -> np.ndarray:
    """Memory-map a stack; `modified` invalidates the entry of a rewritten file."""
    try:
        return np.load(path, mmap_mode="r").view(np.ndarray)
    except ValueError as error:
        raise DataError(f"{path}: not a whole .npy file ({error}); prepare the data again") from error
