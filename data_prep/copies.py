"""Scans that belong to two cases under different file names: one could be trained on and the other tested."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

from transeg.data.table import Case
from transeg.errors import UserError
from transeg.files import digest_of
from transeg.references import files_of

SAMPLE = 2**16  # bytes from the middle of a file, where scans differ; whole files are read only if these agree


class _Scan(NamedTuple):
    case: str
    reference: str
    files: tuple[Path, ...]


def check_copies(cases: Sequence[Case]) -> None:
    """Raise UserError if the files of a scan of one case are equal to those of another case."""
    scans = [
        _Scan(case.name, image, tuple(files_of(image)))
        for case in cases
        if not case.problem
        for image in case.images.values()
    ]
    groups = [[scan for scan in scans if scan.files]]
    for key in (_sizes, _samples, _digests):
        groups = [part for group in groups for part in _of_several_cases(group, key)]
    if groups:
        lines = [f"{', '.join(f'{scan.reference} of {scan.case}' for scan in group)}: equal" for group in groups]
        raise UserError("\n  ".join(["the same scan belongs to several cases; correct the table:", *lines]))


def _of_several_cases(scans: Sequence[_Scan], key: Callable[[_Scan], Hashable]) -> list[list[_Scan]]:
    """Groups of scans that agree in the key, of which not all are of one case."""
    groups: dict[Hashable, list[_Scan]] = {}
    for scan in scans:
        groups.setdefault(key(scan), []).append(scan)
    return [group for group in groups.values() if len({scan.case for scan in group}) > 1]


def _sizes(scan: _Scan) -> Hashable:
    return tuple(file.stat().st_size for file in scan.files)


def _samples(scan: _Scan) -> Hashable:
    found = []
    for path in scan.files:
        with path.open("rb") as file:
            file.seek(path.stat().st_size // 2)
            found.append(file.read(SAMPLE))
    return tuple(found)


def _digests(scan: _Scan) -> Hashable:
    return tuple(digest_of(file) for file in scan.files)
