"""Datalists in MONAI's Decathlon format and the stacks of slices that they refer to.

A prepared folder holds `datalist.json` and stacks `images/<case>.npy` (N, C, X, Y) and `labels/<case>.npy`
(N, X, Y), or (1, C, X, Y, Z) and (1, X, Y, Z) for whole volumes. An item refers to one slice (or volume):
{"image": "images/a.npy", "label": "labels/a.npy", "index": 17, "case": "a"}; unlabelled items have no "label" key.
Paths are relative to the datalist.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import PathLike
from monai.utils import ensure_tuple

from transeg.errors import DatalistError
from transeg.files import atomic
from transeg.references import files_of

logger = logging.getLogger(__name__)

FILES = ("image", "label", "mask")  # fields that hold file names


def load_lists(path: Path, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Items of those of the lists that a datalist has, see `load_list`; their files are not looked for."""
    content = read_json(path)
    return [item for key in keys if key in content for item in load_list(path, content, key)]


def read_datalist(path: PathLike, key: str, optional: bool = False) -> list[dict[str, Any]]:
    """Read one list of a datalist and check that its files exist.

    Args:
        path: JSON file.
        key: name of the list, such as "training" or "training_absence".
        optional: return an empty list if there is no datalist.

    Returns:
        Items with absolute paths (relative to the working directory if `path` is); may be empty.

    Raises:
        DatalistError: missing datalist, invalid JSON, unknown list, or missing file.
    """
    path = Path(path)
    if optional and not path.exists():
        return []
    if path.parent.is_file():
        raise DatalistError(
            f"{path.parent}: training and evaluation need a prepared folder, with a {path.name}; prepare a table with "
            "data_prep.prepare"
        )
    if not path.is_file():
        raise DatalistError(
            f"{path}: no such datalist; make one with the data_prep command in the model card, or set the path to yours"
        )
    items = load_list(path, read_json(path), key)
    seen: set[str] = set()
    for number, item in enumerate(items):
        for name in FILES:
            for file in _files(item.get(name)):
                if file not in seen and not files_of(file):
                    case = f' (case "{item["case"]}")' if "case" in item else ""
                    raise DatalistError(
                        f"{path}: {name} of entry {number}{case} of {key} does not exist: {file}; "
                        f"correct the entry or prepare the data again"
                    )
                seen.add(file)
    return items


def read_labelled(path: PathLike, key: str | Sequence[str]) -> list[dict[str, Any]]:
    """Items of one list, or of several in a row, that have a label; says how many have none.

    Raises:
        DatalistError: none has; see also `read_datalist`.
    """
    keys = ensure_tuple(key)
    items = [item for name in keys for item in read_datalist(path, name)]
    found = [item for item in items if "label" in item]
    lists = ", ".join(keys)
    if not items:
        raise DatalistError(f"{path}: {lists} is empty; prepare the data with --test above 0 for cases to evaluate on")
    if not found:
        raise DatalistError(
            f"{path}: no case of {lists} has a label, so there is nothing to compare masks with; give some test cases "
            "a label, or score image-level labels by presence.json in the bundle's configs, if it has one"
        )
    if len(found) < len(items):
        logger.warning(
            "%d of %d cases of %s have no label and are not scored", len(items) - len(found), len(items), lists
        )
    return found


def read_known(path: PathLike, key: str) -> list[dict[str, Any]]:
    """Items of a list with an image-level label ("presence").

    Raises:
        DatalistError: none has; see also `read_datalist`.
    """
    found = [item for item in read_datalist(path, key) if "presence" in item]
    if not found:
        raise DatalistError(
            f"{path}: no case of {key} has an image-level label; give the presence (yes, no or slices such as "
            "40-73) of test cases in the table and prepare it again"
        )
    return found


def read_validation(path: PathLike) -> list[dict[str, Any]]:
    """Items of "validation" and, if there is such a list, "validation_absence", with "presence": True or False.

    Raises:
        DatalistError: see `read_datalist`.
    """
    present = read_datalist(path, "validation")
    absent = read_datalist(path, "validation_absence") if "validation_absence" in read_json(path) else []
    return with_presence(present, absent)


def with_presence(
    present: Iterable[Mapping[str, Any]], absent: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Items of both domains in one list, each with its domain as "presence"."""
    return [{**item, "presence": True} for item in present] + [{**item, "presence": False} for item in absent]


def read_json(path: PathLike) -> dict[str, Any]:
    """Content of a datalist; a byte-order mark, as Windows writes it, does no harm.

    Raises:
        DatalistError: not a JSON file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise DatalistError(f"{path}: not a JSON file ({error}); prepare the data again") from error


def load_list(path: PathLike, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Items of a list with file paths joined to the folder of the datalist, and all other fields unchanged.

    MONAI's reader would turn any string into a path if a file or folder of that name lies next to the datalist, such as
    the domain "ct" next to a folder ct; it knows neither references nor byte-order marks.

    Args:
        path: the datalist.
        content: its content.
        key: name of a list.

    Raises:
        DatalistError: unknown list.
    """
    lists = {name: value for name, value in content.items() if isinstance(value, list)}
    if key not in lists:
        available = ", ".join(f"{name} ({len(value)})" for name, value in lists.items()) or "none"
        raise DatalistError(f'{path}: no list "{key}"; available: {available}')
    folder = Path(path).parent
    items = [item if isinstance(item, dict) else {"image": item} for item in lists[key]]
    return [item | {name: _join(folder, item[name]) for name in FILES if name in item} for item in items]


def _join(folder: Path, value: Any) -> Any:
    """A reference, or a list of them, joined to a folder; also one with the separators of Windows."""
    if isinstance(value, list):
        return [_join(folder, part) for part in value]
    joined = os.path.normpath(os.path.join(folder, value))
    return joined if "\\" not in joined or files_of(joined) else joined.replace("\\", "/")


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
    """Write a datalist with the usual Decathlon fields, atomically.

    Args:
        path: JSON file; its folder is created if needed.
        lists: items by name of the list.
        name: name of the dataset.
        description: one sentence.
        recipe: what training and inference must know about the preparation: "channels" (names in order), "labels"
            (names by value, background first), and the method with its grid and rules, see `transeg.data.recipe`.
        preparation: options, seed and counts of the preparation.
        dimensions: spatial dimensions of an item's image, 2 or 3.

    Returns:
        Path of the datalist.
    """
    path = Path(path)
    counts: Counter[str] = Counter()
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
    with atomic(path) as partial, partial.open("w") as file:
        file.write(json.dumps(fields, indent=1).removesuffix("\n}"))  # one line per item keeps long lists readable
        for key, items in lists.items():
            file.write(f",\n {json.dumps(key)}: [")
            file.write(",".join(f"\n  {json.dumps(item)}" for item in items))
            file.write("\n ]")
        file.write("\n}\n")
    return path


def write_stack(path: PathLike, chunks: Iterable[np.ndarray], shape: Sequence[int], dtype: np.typing.DTypeLike) -> None:
    """Write a .npy file from consecutive chunks of its first axis, in bounded memory, atomically.

    Args:
        path: .npy file; its folder is created if needed.
        chunks: arrays (n, *shape[1:]) whose lengths sum to shape[0].
        shape: shape of the whole array.
        dtype: stored type.

    Raises:
        ValueError: the chunks do not fill the shape.
    """
    shape, filled = tuple(shape), 0
    with atomic(path) as partial:
        with partial.open("wb") as file:  # a memory map's pages would stay resident
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
