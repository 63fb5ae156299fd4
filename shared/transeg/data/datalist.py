"""Datalists in MONAI's Decathlon form and the stacks of slices that they point into.

A prepared folder holds `datalist.json` and stacks `images/<case>.npy` (N, C, X, Y) and `labels/<case>.npy`
(N, X, Y), or (1, C, X, Y, Z) and (1, X, Y, Z) of whole volumes. An item addresses one slice (or the volume):
{"image": "images/a.npy", "label": "labels/a.npy", "index": 17, "case": "a"}; an item without a label has no "label"
key. Paths are relative to the datalist.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.data import load_decathlon_datalist

FILES = ("image", "label", "mask")  # fields that name files


class DatalistError(ValueError):
    """A datalist cannot be used: the message names the file, the entry and what to do."""


def read_datalist(path: PathLike, key: str, optional: bool = False) -> list[dict[str, Any]]:
    """Read one list of a datalist and check that every file it names exists.

    Args:
        path: the JSON file.
        key: name of the list, such as "training" or "training_absence".
        optional: without a datalist return an empty list.

    Returns:
        Items with absolute paths (relative to the working directory if `path` is); may be empty.

    Raises:
        DatalistError: no such datalist, not JSON, no such list, or an entry whose file does not exist.
    """
    path = Path(path)
    if optional and not path.exists():
        return []
    if not path.is_file():
        raise DatalistError(
            f"{path}: no such datalist; make one with the command of data_prep that the model card "
            "names, or set the path to yours"
        )
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DatalistError(f"{path}: not a JSON file ({error}); prepare the data again") from error
    lists = {name: value for name, value in content.items() if isinstance(value, list)}
    if key not in lists:
        available = ", ".join(f"{name} ({len(value)})" for name, value in lists.items()) or "none"
        raise DatalistError(f'{path}: no list "{key}"; available: {available}')
    if not lists[key]:  # monai's reader looks at the first item
        return []
    items = load_list(path, content, key)
    seen: set[str] = set()
    for number, item in enumerate(items):
        for name in ("image", "label"):
            for file in _files(item.get(name)):
                if file not in seen and not os.path.isfile(file):
                    case = f' (case "{item["case"]}")' if "case" in item else ""
                    raise DatalistError(
                        f"{path}: {name} of entry {number}{case} of {key} does not exist: {file}; "
                        f"correct the entry or prepare the data again"
                    )
                seen.add(file)
    return items


def load_list(path: PathLike, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Items of a list with the paths of their files; other fields as they are written.

    MONAI's reader makes a path of any text for which something of that name lies beside the datalist, of "ct" where
    there is a folder ct.

    Args:
        path: the datalist.
        content: what it holds.
        key: of a list that is not empty.
    """
    items = load_decathlon_datalist(path, data_list_key=key)
    return [
        item | {name: value for name, value in own.items() if name not in FILES} if isinstance(own, dict) else item
        for item, own in zip(items, content[key], strict=True)
    ]


def _files(value: Any) -> Sequence[str]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def write_datalist(
    path: PathLike,
    lists: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    name: str,
    description: str,
    recipe: Mapping[str, Any],
    preparation: Mapping[str, Any],
    dimensions: int = 2,
) -> Path:
    """Write a datalist with the usual Decathlon fields, whole or not at all.

    Args:
        path: the JSON file; its folder is made.
        lists: items by the name of the list.
        name: name of the data set.
        description: one sentence.
        recipe: what training and inference have to know of the preparation: "channels" (names in order) and "labels"
            (names by value, background first), and with them the method, the grid and the rules of the method.
        preparation: options, seed and counts, to know later how the data came about.
        dimensions: of an item's image, 2 or 3.
    """
    path = Path(path)
    counts = Counter()
    for key, items in lists.items():
        split, _, kind = key.partition("_")
        counts[split] += len(items) if kind != "absence" and not kind.endswith("volumes") else 0
    fields = {
        "name": name,
        "description": description,
        "modality": {str(channel): value for channel, value in enumerate(recipe["channels"])},
        "labels": {str(value): label for value, label in enumerate(recipe["labels"])},
        "tensorImageSize": f"{dimensions}D",
        "numTraining": counts["training"],
        "numTest": counts["test"],
        "recipe": dict(recipe),
        "preparation": dict(preparation),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with partial.open("w") as file:
        file.write(json.dumps(fields, indent=1).removesuffix("\n}"))  # a line for each item keeps long lists readable
        for key, items in lists.items():
            file.write(f",\n {json.dumps(key)}: [")
            file.write(",".join(f"\n  {json.dumps(item)}" for item in items))
            file.write("\n ]")
        file.write("\n}\n")
    partial.replace(path)
    return path


def write_stack(path: PathLike, chunks: Iterable[np.ndarray], shape: Sequence[int], dtype: np.typing.DTypeLike) -> None:
    """Write an array file from consecutive parts of its first axis, in bounded memory, whole or not at all.

    Args:
        path: the .npy file; its folder is made.
        chunks: arrays (n, *shape[1:]) whose lengths add up to shape[0].
        shape: shape of the whole.
        dtype: type to store.

    Raises:
        ValueError: the chunks do not fill the shape.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    shape, filled = tuple(shape), 0
    try:
        with partial.open("wb") as file:  # not through a memory map, whose pages would stay resident
            descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in chunks:
                if chunk.shape[1:] != shape[1:]:
                    raise ValueError(f"{path}: slices of shape {chunk.shape[1:]} given for a stack of {shape[1:]}")
                file.write(np.ascontiguousarray(chunk, dtype).data)
                filled += len(chunk)
        if filled != shape[0]:
            raise ValueError(f"{path}: {filled} slices given for a stack of {shape[0]}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
