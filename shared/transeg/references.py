"""References to volumes: what stands in a cell of a table, in a datalist, or on the command line.

A reference is a path, relative to the file that it stands in:

- a volume file (NIfTI, NRRD, MHA, MHD),
- a folder that holds one DICOM series,
- numbered slices (TIF, PNG), with `*` for the number: `P1/P1_*.tif`; P1_1_mask.tif is not among them,

and `#k` after it takes channel k, counted from 0, of a file with several: `P1.nii.gz#2`, `P1/P1_*.tif#1`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

VOLUMES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")  # in any case
# by suffix, since ITK itself does not know MetaImage by an upper-case one
ITK_READERS = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
SLICES = (".tif", ".tiff", ".png")
DICOM = (".dcm", ".ima")  # most have no suffix
CHANNEL = re.compile(r"(.*)#(\d+)", re.DOTALL)


class Reference(NamedTuple):
    """A parsed reference."""

    path: Path  # of a file, a folder, or with `*` in its name
    channel: int | None = None


def parse(text: str | os.PathLike) -> Reference:
    """Path and channel of a reference; a file whose name ends in #k is taken as a file."""
    text = os.fspath(text)
    found = CHANNEL.fullmatch(text)
    if found and not os.path.exists(text):
        return Reference(Path(found[1]), int(found[2]))
    return Reference(Path(text))


def files_of(reference: str | os.PathLike) -> list[Path]:
    """Files of a reference: one, the slices in the order of their numbers, or all files of a DICOM folder.

    Empty if there is none.
    """
    path = parse(reference).path
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
    if path.is_file():
        return [path]
    before, star, after = path.name.partition("*")
    if not star or not path.parent.is_dir():
        return []
    number = re.compile(re.escape(before) + r"(\d+)" + re.escape(after), re.IGNORECASE)
    found = [(number.fullmatch(file.name), file) for file in path.parent.iterdir()]
    return [file for _, file in sorted((int(match[1]), file) for match, file in found if match)]


def suffix_of(path: str | os.PathLike) -> str:
    """Suffix of a volume or slice format in lower case, "" for anything else."""
    name = os.fspath(path).lower()
    return next((suffix for suffix in (*VOLUMES, *SLICES) if name.endswith(suffix)), "")


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or its content."""
    if path.suffix.lower() in DICOM:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
