"""Files that are written whole or not at all, and the names of cases."""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from transeg.errors import DataError
from transeg.references import parse

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


@contextmanager
def atomic(path: str | os.PathLike, sync: bool = False) -> Iterator[Path]:
    """Replace a file on success; on failure, leave the old one.

    Args:
        path: the file; its folder is made if needed.
        sync: flush to disk before replacing, so that the file survives a crash of the machine too.

    Yields:
        Path to write to, beside `path` and with the same suffix.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial_{path.name}")
    try:
        yield partial
        if sync:
            with partial.open("r+b") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file (UTF-8, line ends as given) atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_rows(
    path: str | os.PathLike, fields: Sequence[str], rows: Sequence[Mapping[str, Any]], key: str = "case"
) -> None:
    """Add rows to a CSV file atomically, replacing earlier rows with the same `key`.

    A lock file beside it serialises writes from several processes.

    Raises:
        DataError: the existing file has different columns.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        kept = _other_rows(path, fields, {str(row[key]) for row in rows}, key)
        with atomic(path) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows([*kept, *rows])


def _other_rows(path: Path, fields: Sequence[str], replaced: set[str], key: str) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != list(fields):
            raise DataError(f"{path}: its columns are not {', '.join(fields)}; move the file away")
        return [row for row in reader if row[key] not in replaced]


def volume_stem(path: str | os.PathLike) -> str:
    """File name without the suffix of a volume format and the channel of a reference: "a.b.nii.gz#2" -> "a.b"."""
    name = parse(path).path.name
    return next((name[: -len(suffix)] for suffix in VOLUME_SUFFIXES if name.lower().endswith(suffix)), name)


def file_name(volume: Any) -> str:
    """Path of a volume, the first one if it has several; "volume" if a loaded one does not tell.

    Args:
        volume: a path, a sequence of paths, or a loaded volume (MetaTensor).
    """
    if isinstance(volume, str | os.PathLike):
        return str(volume)
    if isinstance(volume, Sequence):
        return str(volume[0])
    return str(getattr(volume, "meta", {}).get("filename_or_obj", "volume"))


def case_name(item: Mapping[Any, Any], key: Hashable) -> str:
    """The item's "case", else the stem of the file that the volume `key` comes from."""
    return item["case"] if "case" in item else volume_stem(file_name(item[key]))
