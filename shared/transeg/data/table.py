"""`cases.csv`: the table that describes a data set, one row for each case.

case: unique name; results are named after it.
patient: default: the case; splits are by patient.
One column for each channel, with any name (flair, ct, image): reference to a volume, see `transeg.references`;
    empty: missing.
label: reference to the mask; empty: unlabelled.
foreground: reference to a mask of the region to look at, such as the brain, for images with a non-zero background.
presence: whether the case shows the disease: "yes", "no", or the slices that do ("40-73", "12;40-73"), counted from 0
    along the slices of the file.
domain: of two domains, the one of this case: a modality (ct), or hard and easy.
group: stratum of the split, such as the grade.
split: training, validation or test; empty: drawn.
spacing: voxel size in mm ("1.9 1.9 5"), for formats that do not hold it (TIF, PNG).

Paths are relative to the table.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from transeg.data.names import FOREGROUND, LABEL, canonical, read_name
from transeg.errors import TableError
from transeg.files import write_csv
from transeg.references import files_of, parse

FIELDS = ("case", "patient", "label", "foreground", "presence", "domain", "group", "split", "spacing")
SPLITS = ("training", "validation", "test")
Presence = bool | tuple[tuple[int, int], ...]  # whole case, or (first, last) of each range of slices


@dataclass(frozen=True)
class Case:
    """One row: a scan, with what is known about it. A `problem` fails the case when it is processed."""

    name: str
    images: Mapping[str, str] = field(default_factory=dict)  # reference by channel
    label: str | None = None
    foreground: str | None = None
    presence: Presence | None = None
    patient: str = ""
    domain: str = ""
    group: str = ""
    split: str = ""
    spacing: tuple[float, float, float] | None = None
    problem: str = ""

    def item(self, channels: Sequence[str], folder: Path | None = None, labelled: bool = True) -> dict[str, Any]:
        """Datalist item of the case's volumes.

        Args:
            channels: in their order, in any case and spelling (T1w is t1). If some are missing, the item has only the
                others and a "problem", with which `LoadVolumed` refuses it. An only image of another name is taken for
                all channels, or for the only one.
            folder: paths are made relative to it where possible.
            labelled: include the label.

        Raises:
            TableError: several images and none of the name of the only channel.
        """
        images = [_relative(reference, folder) for reference in self._images(channels)]
        item: dict[str, Any] = {"image": images[0] if len(images) == 1 else images, "case": self.name}
        optional = {"label": self.label if labelled else None, "mask": self.foreground}
        item |= {key: _relative(reference, folder) for key, reference in optional.items() if reference}
        if self.presence is not None:
            item["presence"] = self.presence
        if self.domain:
            item["domain"] = self.domain
        if self.spacing:
            item["spacing"] = list(self.spacing)
        missing = self.missing(channels)
        if missing:
            known = ", ".join(f"{name} ({reference})" for name, reference in self.images.items())
            item["problem"] = (
                f"lacks {', '.join(missing)}; {', '.join(channels)} are needed, and known are {known or 'none'}; add "
                "what is missing, name files after their channel, or list them in a table cases.csv"
            )
        return item

    def missing(self, channels: Sequence[str]) -> list[str]:
        """Channels, in the sense of `item`, that the case lacks."""
        own = {canonical(name) for name in self.images}
        found = len(own) == 1 and not own & {canonical(name) for name in channels}
        return [] if found else [name for name in channels if canonical(name) not in own]

    def is_stack(self, channels: Sequence[str]) -> bool:
        """Whether one file is taken for all of several channels, in their order."""
        return len(channels) > 1 and len(self.images) == 1 and not self.missing(channels)

    def _images(self, channels: Sequence[str]) -> list[str]:
        own = {canonical(name): reference for name, reference in self.images.items()}
        missing = self.missing(channels)
        if not missing and len(own) == 1:
            return list(own.values())
        if missing and len(channels) == 1 and own:
            raise TableError(
                f"{self.name}: which of {', '.join(self.images)} is {channels[0]}? name that column of the table "
                f"{channels[0]}, or leave the others out"
            )
        return [own[canonical(name)] for name in channels if name not in missing]


def read_table(path: str | os.PathLike) -> list[Case]:
    """Read and check a table as a whole.

    Returns:
        Cases in the order of the rows, with absolute references.

    Raises:
        TableError: all that is wrong, with the row of each fault (the header is row 1).
    """
    path = Path(path)
    rows, channels = _rows(path)
    faults, strangers = _column_faults(rows, channels, path.parent)
    channels = [name for name in channels if name not in strangers]
    cases: list[Case] = []
    for number, row in rows:
        case, wrong = _case(row, channels, path.parent)
        faults += [f"row {number}: {fault}" for fault in wrong]
        cases.append(case)
    places = {case.name: number for (number, _), case in zip(rows, cases, strict=True)}
    faults += [
        f"row {places[name]}: case {name!r} is listed {count} times; give each row its own name"
        for name, count in Counter(case.name for case in cases).items()
        if name and count > 1
    ]
    owners: dict[str, list[int]] = {}
    for (number, _), case in zip(rows, cases, strict=True):
        for reference in set(case.images.values()):  # one sequence may stand for another of its case
            owners.setdefault(reference, []).append(number)
    faults += [
        f"rows {', '.join(map(str, numbers))} have the same image: {reference}"
        for reference, numbers in owners.items()
        if len(numbers) > 1
    ]
    faults += [
        f"patient {name!r} is in {' and '.join(splits)}; a patient belongs to one split"
        for name, splits in _torn(cases)
    ]
    faults += flag_faults(row.get("presence", "") for _, row in rows)
    if faults:
        raise TableError(f"{path}: {len(faults)} fault(s):" + "".join(f"\n  {fault}" for fault in faults))
    return cases


def table_channels(cases: Iterable[Case]) -> list[str]:
    """Names of all channels, in the order of first appearance."""
    return list(dict.fromkeys(name for case in cases for name in case.images))


def write_table(path: str | os.PathLike, cases: Sequence[Case]) -> Path:
    """Write a table atomically; references are relative to it where possible, columns without an entry are left out."""
    path = Path(path)
    folder = path.parent.resolve()
    channels = table_channels(cases)
    rows = []
    for case in cases:
        row = {"case": case.name, "patient": case.patient or case.name}
        row |= {name: _relative(reference, folder) for name, reference in case.images.items()}
        row |= {name: _relative(getattr(case, name), folder) for name in ("label", "foreground") if getattr(case, name)}
        row |= {"presence": format_presence(case.presence), "domain": case.domain, "group": case.group}
        row |= {"split": case.split, "spacing": " ".join(f"{size:g}" for size in case.spacing or ())}
        rows.append(row)
    order = [*FIELDS[:2], *channels, *FIELDS[2:]]
    used = [name for name in order if name in (*FIELDS[:2], *channels, "label") or any(row.get(name) for row in rows)]
    write_csv(path, used, [{name: row[name] for name in used if name in row} for row in rows])
    return path


def parse_presence(text: str) -> Presence | None:
    """Parse "yes", "no", or slices such as "40-73" or "12;40-73"; None if empty.

    Raises:
        ValueError: anything else.
    """
    text = text.strip().lower()
    if not text:
        return None
    if text in ("yes", "no"):
        return text == "yes"
    ranges = []
    for part in text.split(";"):
        first, dash, last = part.strip().partition("-")
        if not first.strip().isdigit() or (dash and not last.strip().isdigit()) or (dash and int(last) < int(first)):
            raise ValueError(f'presence is {text!r}; expected "yes", "no" or slices such as "40-73" or "12;40-73"')
        ranges.append((int(first), int(last) if dash else int(first)))
    return tuple(ranges)


def flag_faults(texts: Iterable[str]) -> list[str]:
    """What is wrong with a column presence that only has 0 and 1, which would be read as slices."""
    values = set(texts) - {""}
    wrong = values and values <= {"0", "1"}
    return ["presence is 0 or 1, which are slices; write no or yes (for the slices 0-0 or 1-1)"] if wrong else []


def format_presence(presence: Presence | None) -> str:
    """Inverse of `parse_presence`."""
    if presence is None or isinstance(presence, bool):
        return {None: "", True: "yes", False: "no"}[presence]
    return ";".join(f"{first}-{last}" for first, last in presence)


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], list[str]]:
    """Rows with their number, and the names of the channels."""
    rows = read_rows(path)
    header = list(rows[0][1])
    channels = [name for name in header if name not in FIELDS]
    if "case" not in header or not channels:
        what = (
            'no column "case"'
            if "case" not in header
            else "no column for an image (name it as you like, such as flair or image)"
        )
        raise TableError(f"{path}: {what}; the columns are: {', '.join(header)}")
    return rows, channels


def _column_faults(
    rows: Sequence[tuple[int, Mapping[str, str]]], channels: Sequence[str], folder: Path
) -> tuple[list[str], set[str]]:
    """What is wrong with the names of the columns of channels, and those that are none."""
    faults, strangers = [], set()
    for name in channels:
        cells = [row[name] for _, row in rows if row.get(name)]
        meant = get_close_matches(name.lower(), FIELDS, n=1, cutoff=0.75)
        if read_name(name).role in (LABEL, FOREGROUND):
            hint = "name it label, if it is what to segment, or foreground, if it is where to look"
        elif meant:
            hint = f"did you mean {meant[0]}?"
        elif cells and not any(files_of(_absolute(cell, folder)) for cell in cells):
            hint = f"none of its {len(cells)} cells is a file, series or slices; correct the paths, or remove it"
        else:
            continue
        faults.append(f"column {name!r} is no channel: {hint}")
        strangers.add(name)
    return faults, strangers


def read_rows(path: str | os.PathLike) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their number (the header is row 1), cells by column; at least one.

    Separated by commas, semicolons or tabs; with or without a byte-order mark. Names of `FIELDS` are in lower case.

    Raises:
        TableError: not such a file, no row, a column without a name or twice, or a row with too many cells.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as CSV UTF-8"
        ) from error
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    if "\0" in text:
        raise TableError(f"{path}: not a text file; save it as CSV")
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        lines = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise TableError(f"{path}: not a CSV table ({error}); a quote may be missing") from error
    filled = [
        (number, [cell.strip() for cell in line]) for number, line in enumerate(lines, 1) if any(map(str.strip, line))
    ]
    if len(filled) < 2:
        raise TableError(f"{path}: no case in it; the first row names the columns, each further row is a case")
    header = [name.lower() if name.lower() in FIELDS else name for name in filled[0][1]]
    while header and not header[-1]:
        header.pop()
    double = sorted(name for name, count in Counter(map(str.lower, header)).items() if count > 1)
    if "" in header or double:
        what = f"several columns named {', '.join(double)}" if double else "a column without a name"
        raise TableError(f"{path}: {what}; the columns are: {', '.join(header)}")
    rows = []
    for number, cells in filled[1:]:
        if len(cells) > len(header) and any(cells[len(header) :]):
            raise TableError(
                f"{path}: row {number} has {len(cells)} cells for {len(header)} columns; quote cells with commas"
            )
        rows.append((number, dict(zip(header, [*cells, *[""] * len(header)], strict=False))))
    return rows


def _case(row: Mapping[str, str], channels: Sequence[str], folder: Path) -> tuple[Case, list[str]]:
    """The case of a row, and what is wrong with it."""
    wrong = []
    references = {name: _absolute(row[name], folder) for name in (*channels, "label", "foreground") if row.get(name)}
    for name, reference in references.items():
        if not files_of(reference):
            wrong.append(f"{name}: no such file, series or slices: {row[name]}")
    if not row["case"]:
        wrong.append("no case name")
    elif set(row["case"]) & set("/\\\0") or row["case"].startswith("."):
        wrong.append(f"case name {row['case']!r}: slashes and a leading dot are not possible in a file name")
    if channels and not any(name in references for name in channels):
        wrong.append(f"no image; fill in at least one of {', '.join(channels)}")
    presence, spacing = None, None
    try:
        presence = parse_presence(row.get("presence", ""))
    except ValueError as error:
        wrong.append(str(error))
    try:
        spacing = _parse_spacing(row.get("spacing", ""))
    except ValueError as error:
        wrong.append(str(error))
    split = row.get("split", "").lower()
    if split and split not in SPLITS:
        wrong.append(f"split is {split!r}; expected {', '.join(SPLITS)} or nothing")
    images = {name: references[name] for name in channels if name in references}
    case = Case(
        row["case"],
        images,
        references.get("label"),
        references.get("foreground"),
        presence,
        patient=row.get("patient") or row["case"],
        domain=row.get("domain", "").lower(),
        group=row.get("group", ""),
        split=split,
        spacing=spacing,
    )
    return case, wrong


def _parse_spacing(text: str) -> tuple[float, float, float] | None:
    sizes = text.replace(",", " ").replace("x", " ").split()
    if not sizes:
        return None
    try:
        x, y, z = (float(size) for size in sizes)
    except ValueError:
        x = y = z = -1.0
    if not all(0 < size < 1000 for size in (x, y, z)):
        raise ValueError(f"spacing is {text!r}; expected three sizes in mm, such as 1.9 1.9 5")
    return x, y, z


def _torn(cases: Sequence[Case]) -> list[tuple[str, list[str]]]:
    splits: dict[str, set[str]] = {}
    for case in cases:
        if case.split:
            splits.setdefault(case.patient, set()).add(case.split)
    return [(patient, sorted(found)) for patient, found in splits.items() if len(found) > 1]


def _absolute(reference: str, folder: Path) -> str:
    return os.path.abspath(folder / reference.replace("\\", "/")) if not os.path.isabs(reference) else reference


def _relative(reference: str, folder: Path | None) -> str:
    """Path relative to a folder; absolute on another drive."""
    if folder is None:
        return reference
    path, channel = parse(reference)
    folder = folder.resolve()
    path = Path(os.path.abspath(path))
    shown = os.path.relpath(path, folder) if path.anchor == folder.anchor else str(path)
    return shown if channel is None else f"{shown}#{channel}"
