"""Files that are written whole or not at all, and the names of cases."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from transeg.errors import DataError
from transeg.references import files_of, parse

RUNS = "runs.json"  # in a folder of results: of which weights they are, see `transeg.data.results`
RUN = "transeg_run"  # column of our tables: name of the run that wrote a row
FIGURE_TEXT = "Software"  # PNG keyword under which our figures say what they are
PAGE = "_report.html"  # after the name of a case
INDEX = "report.html"  # page of all cases
EVALUATION = tuple(f"evaluation.{kind}" for kind in ("csv", "json", "md"))  # what `transeg evaluate` writes
PAGE_TEXT = "transeg report"  # "generator" by which our pages say what they are
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


def digest_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file; empty if there is none."""
    if not Path(path).is_file():
        return ""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_reference(reference: str | os.PathLike) -> str:
    """SHA-256 of the files of a reference (see `transeg.references`), one after the other."""
    digest = hashlib.sha256()
    for path in files_of(reference):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file (UTF-8, line ends as given) atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def write_rows(
    path: str | os.PathLike, fields: Sequence[str], rows: Sequence[Mapping[str, Any]], key: str = "case"
) -> None:
    """Add rows to a CSV file atomically, replacing earlier rows with the same `key`.

    A last column, `RUN`, tells which run wrote a row, see `read_run`. A lock file beside the table serialises writes
    from several processes.

    Raises:
        DataError: the existing file has different columns.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns, run = [*fields, RUN], read_run(path.parent)
    with _locked(path):
        found, kept = _read_rows(path) if path.is_file() else (columns, [])
        if found != columns:
            raise DataError(f"{path}: its columns are not {', '.join(columns)}; move the file away")
        replaced = {str(row[key]) for row in rows}
        kept = [row for row in kept if row[key] not in replaced]
        write_csv(path, columns, [*kept, *({**row, RUN: run} for row in rows)])


def remove_rows(path: str | os.PathLike, case: str) -> None:
    """Remove the rows of a case from a table that `write_rows` wrote; others are left alone, as is a missing file."""
    path = Path(path)
    if not path.is_file() or not _is_ours(path):
        return
    with _locked(path):
        columns, rows = _read_rows(path)
        kept = [row for row in rows if row["case"] != case]
        if len(kept) < len(rows):
            write_csv(path, columns, kept)


def read_run(folder: str | os.PathLike) -> str:
    """Name of the run whose results are being written to a folder; empty if not known."""
    path = Path(folder) / RUNS
    try:
        return json.loads(path.read_text())["current"] if path.is_file() else ""
    except (ValueError, KeyError, TypeError):  # a file of the same name, but not ours
        return ""


def _locked(path: Path) -> FileLock:
    return FileLock(path.with_name(f".{path.name}.lock"))


def _is_ours(table: Path) -> bool:
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        columns = next(csv.reader(file), [])
    return "case" in columns and columns[-1] == RUN


def _read_rows(path: Path) -> tuple[list[str], list[dict[str, Any]]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
        return list(reader.fieldnames or ()), rows


def write_csv(path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file atomically; cells that a row lacks are empty."""
    with atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


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
