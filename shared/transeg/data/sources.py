"""Volumes below a folder, in any format, and what every other file there is.

Only names and headers are read.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from transeg.files import volume_stem
from transeg.references import ITK_READERS, SLICES, VOLUMES, is_dicom, suffix_of

NOT_A_VOLUME = "skipped: not a volume"
OWN_OUTPUT = "skipped: written by transeg"
_HIDDEN, _INDEX = "skipped: hidden", "skipped: index of DICOM files"
_PICTURE = "skipped: single picture; a volume is made of numbered slices"
NO_SCANS = frozenset({NOT_A_VOLUME, OWN_OUTPUT, _HIDDEN, _INDEX, _PICTURE})  # reasons that nobody needs to hear of
_DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)\s*(.+?)\s*$", re.IGNORECASE | re.MULTILINE)
_NOT_IMAGES = {"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "REG"}  # DICOM modalities
_KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_READ_ERRORS = (RuntimeError, OSError, EOFError, StopIteration, struct.error, zlib.error, ValueError)
_TAGS = {
    "uid": "0020|000e",
    "study": "0020|000d",
    "patient": "0010|0020",
    "description": "0008|103e",
    "modality": "0008|0060",
    "position": "0020|0032",
    "orientation": "0020|0037",
    "spacing": "0028|0030",
    "rows": "0028|0010",
    "columns": "0028|0011",
}


@dataclass(frozen=True)
class Volume:
    """A volume of one or several files."""

    path: Path  # of the file or the DICOM folder; for slices with `*` as their number, see `transeg.references`
    files: tuple[Path, ...]
    name: str  # without suffix and number of the slice; of DICOM: description of the series
    tags: Mapping[str, str] = field(default_factory=dict)  # of DICOM: study, patient, modality and others


@dataclass
class Contents:
    """What lies below a folder."""

    root: Path
    volumes: list[Volume]
    account: dict[Path, str]  # all files; those of volumes get their text later
    faults: list[str]  # what keeps a volume from being referred to


def read_folder(root: Path, only: Path | None = None) -> Contents:
    """Find the volumes below a folder; symbolic links are followed.

    Args:
        root: the folder.
        only: the one file to look at.
    """
    contents = Contents(root, [], {}, [])
    by_folder: dict[Path, list[Path]] = {}
    for path, reason in [(only, "")] if only else _walk(root, (os.path.realpath(root),), ""):
        contents.account[path] = reason or NOT_A_VOLUME
        if not reason:
            by_folder.setdefault(path.parent, []).append(path)
    for folder, files in by_folder.items():
        _read_files(folder, files, contents)
    return contents


def _walk(folder: Path, above: tuple[str, ...], reason: str) -> Iterator[tuple[Path, str]]:
    """Files below a folder, each with the reason to skip it, "" if there is none."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"skipped: cannot be read ({error.strerror})"
        return
    for entry in entries:
        path = folder / entry.name
        why = reason or (_HIDDEN if entry.name.startswith(".") else "")
        if entry.is_dir():
            real = os.path.realpath(path)
            if real in above:
                yield path, "skipped: link to a folder above it"
            else:
                yield from _walk(path, (*above, real), why)
        else:
            yield path, why if entry.is_file() else "skipped: broken link"


def _read_files(folder: Path, files: Sequence[Path], contents: Contents) -> None:
    """Add the volumes of one folder."""
    account, own = contents.account, _manifest(folder)
    slices: dict[str, list[Path]] = {}
    dicom = []
    for path in files:
        suffix = suffix_of(path)
        if suffix in VOLUMES:
            if path.name in own or (suffix.startswith(".nii") and nifti_header(path).get("own")):
                account[path] = OWN_OUTPUT
            else:
                parts = _data_files(path) if suffix in (".mhd", ".nhdr") else ()
                contents.volumes.append(Volume(path, (path, *parts), volume_stem(path)))
        elif suffix in SLICES:
            slices.setdefault(_without_number(path.name, suffix).lower(), []).append(path)
        elif path.name.upper() == "DICOMDIR":
            account[path] = _INDEX
        elif path.suffix.lower() in (".hdr", ".img"):
            account[path] = "skipped: Analyze format, which has no orientation; convert it to NIfTI"
        elif is_dicom(path):
            dicom.append(path)
    for paths in slices.values():
        _add_slices(folder, paths, contents)
    if dicom:
        _add_series(folder, dicom, contents)


def _manifest(folder: Path) -> set[str]:
    """Names of the outputs of transeg in a folder, as its manifest lists them."""
    try:
        outputs = json.loads((folder / "manifest.json").read_text(encoding="utf-8-sig"))["outputs"]
        return {os.path.basename(output) for output in outputs if isinstance(output, str)}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _data_files(header: Path) -> list[Path]:
    """Data files that a detached header names and that exist."""
    try:
        names = _DATA_FILE.findall(header.read_bytes()[:10_000])
    except OSError:
        return []
    return [path for path in (header.with_name(os.fsdecode(name)) for name in names) if path.is_file()]


def _without_number(name: str, suffix: str) -> str:
    """File name of a slice with `*` for its number: the last word of digits, else digits at the end; "" if none."""
    stem = name[: -len(suffix)]
    words = list(re.finditer(r"(?<![^\W_])\d+(?![^\W_])", stem))
    found = words[-1] if words else re.search(r"\d+$", stem)
    return f"{stem[: found.start()]}*{stem[found.end() :]}{name[-len(suffix) :]}" if found else ""


def _add_slices(folder: Path, paths: Sequence[Path], contents: Contents) -> None:
    suffix = suffix_of(paths[0])
    pattern = _without_number(paths[0].name, suffix)
    if not pattern or len(paths) < 2:
        contents.account |= dict.fromkeys(paths, _PICTURE)
        return
    name = pattern[: -len(suffix)].replace("*", "")
    contents.volumes.append(Volume(folder / pattern, tuple(paths), name))


def _add_series(folder: Path, files: Sequence[Path], contents: Contents) -> None:
    """Add the DICOM series of a folder, which the folder stands for."""
    series: dict[str, list[Path]] = {}
    tags: dict[str, dict[str, str]] = {}
    for path, found in _tags(folder, files):
        if not found:
            contents.account[path] = "skipped: DICOM file without an image"
        elif found["modality"] in _NOT_IMAGES:
            contents.account[path] = f"skipped: DICOM {found['modality']}; convert it to NIfTI"
        else:
            series.setdefault(found["uid"], []).append(path)
            tags.setdefault(found["uid"], found)
    if len(series) > 1 and len({_grid(found) for found in tags.values()}) == 1 and _stacked(series, tags):
        first = min(series)  # exported with a series of its own for each slice
        series, tags = {first: [path for paths in series.values() for path in paths]}, {first: tags[first]}
    if len(series) > 1:
        named = ", ".join(sorted(repr(found["description"] or found["uid"]) for found in tags.values()))
        contents.faults.append(
            f"{folder}: {len(series)} DICOM series in one folder ({named}); put each series into a folder of its own"
        )
        contents.account |= dict.fromkeys(
            (path for paths in series.values() for path in paths), "skipped: several DICOM series in one folder"
        )
        return
    for uid, paths in series.items():
        contents.volumes.append(Volume(folder, tuple(paths), tags[uid]["description"], tags[uid]))


def _tags(folder: Path, files: Sequence[Path]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Tags of each DICOM file, those of a series read once; empty for a file without an image."""
    import SimpleITK  # loads slowly, and only DICOM needs it

    shown = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    known: dict[Path, dict[str, str]] = {}
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    for uid in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        names = [Path(name) for name in SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)]
        try:
            reader.SetFileName(str(names[0]))
            reader.ReadImageInformation()
        except RuntimeError:
            continue
        # GDCM's odd-length values are padded
        tags = {
            name: reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else ""
            for name, tag in _TAGS.items()
        }
        known |= dict.fromkeys(names, tags)
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(shown)
    for path in files:
        yield path, known.get(path, {})


def _grid(tags: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(tags[name] for name in ("description", "orientation", "spacing", "rows", "columns"))


def _stacked(series: Mapping[Any, Sequence[Path]], tags: Mapping[Any, Mapping[str, str]]) -> bool:
    """Whether each series is one slice, at a place of its own."""
    return max(map(len, series.values())) == 1 and len({found["position"] for found in tags.values()}) == len(series)


def nifti_header(path: Path) -> dict[str, Any]:
    """Shape, type and place of the voxels, and whether transeg wrote the file ("own"); empty if it cannot be read."""
    try:
        with _open(path) as file:
            head = file.read(540)
        order = next(order for order in "<>" if struct.unpack_from(f"{order}i", head)[0] in (348, 540))
        if struct.unpack_from(f"{order}i", head)[0] == 348:
            dim, kind = struct.unpack_from(f"{order}8h", head, 40), struct.unpack_from(f"{order}h", head, 70)[0]
            start, description = struct.unpack_from(f"{order}f", head, 108)[0], head[148:228]
        else:
            dim, kind = struct.unpack_from(f"{order}8q", head, 16), struct.unpack_from(f"{order}h", head, 12)[0]
            start, description = struct.unpack_from(f"{order}q", head, 168)[0], head[240:320]
        dtype = np.dtype(f"{order}{_KINDS[kind]}") if kind in _KINDS else None
    except _READ_ERRORS:
        return {}
    own = description.startswith(b"transeg ")
    return {"shape": dim[1 : 1 + dim[0]], "dtype": dtype, "start": int(start), "own": own}


def looks_like_mask(path: Path) -> bool:
    """Whether the voxels of a volume file take two values, or are regions of a few equal whole numbers.

    Reading stops at the first voxels that show a scan. False for a file that cannot be read.
    """
    values: set[float] = set()
    equal = pairs = 0
    try:
        for voxels in _nifti_voxels(path) if suffix_of(path) in (".nii", ".nii.gz") else _other_voxels(path):
            if not voxels.any():
                values.add(0)
                continue
            shown = (voxels[1:] != 0) | (voxels[:-1] != 0)
            equal += int((voxels[1:] == voxels[:-1])[shown].sum())
            pairs += int(shown.sum())
            values |= set(np.unique(voxels).tolist())
            if len(values) > 128 or not all(float(value).is_integer() for value in values):
                return False
    except _READ_ERRORS:
        return False
    return 0 in values and (len(values) == 2 or (len(values) > 2 and equal > 0.5 * pairs))


def _nifti_voxels(path: Path) -> Iterator[np.ndarray]:
    """Blocks of the stored voxels in their order."""
    header = nifti_header(path)
    dtype = header.get("dtype")
    if dtype is None:
        return
    left = math.prod(header["shape"]) * dtype.itemsize
    with _open(path) as file:
        file.read(header["start"])
        while left > 0 and (block := file.read(min(left, 1 << 16))):
            left -= len(block)
            yield np.frombuffer(block, dtype, len(block) // dtype.itemsize)


def _other_voxels(path: Path) -> Iterator[np.ndarray]:
    """Voxels of another format, if its bytes or its compression can be those of a mask: reading it takes long."""
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(ITK_READERS[suffix_of(path)])
    reader.ReadImageInformation()
    one_byte = reader.GetPixelID() in (SimpleITK.sitkUInt8, SimpleITK.sitkInt8)
    if one_byte or os.path.getsize(path) < 0.1 * math.prod(reader.GetSize()):
        yield SimpleITK.GetArrayViewFromImage(reader.Execute()).ravel()


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if path.name.lower().endswith(".gz") else path.open("rb")
