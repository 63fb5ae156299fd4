"""The archive of a bundle and its manifest as pure functions of the files.

Entries are sorted and stored uncompressed (so that no version of zlib matters), with a fixed time and mode and without
comment; the manifest lists each file's SHA-256 and size in a fixed form. So the same files give the same bytes, and any
modification, of the headers too, shows when the archive is built again from its contents. That detects damage. An
attacker could rebuild archive and manifest: compare the SHA-256 with the published one.
"""

from __future__ import annotations

import hashlib
import io
import json
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

MANIFEST = "manifest.json"
CONTENTS = ("LICENSE", "configs/**/*", "docs/**/*", "models/model.pt", "models/training_cases.json")
LEFT_BY_RUNS = {"data", "eval", "runs", "__pycache__"}


def manifest(files: Mapping[str, bytes]) -> bytes:
    """JSON {"files": {path: {"sha256": ..., "size": bytes}}} of all files but the manifest itself."""
    entries = {
        path: {"sha256": hashlib.sha256(files[path]).hexdigest(), "size": len(files[path])}
        for path in sorted(files)
        if path != MANIFEST
    }
    return json_bytes({"files": entries})


def json_bytes(value: object) -> bytes:
    """JSON in the one form that released files have."""
    return (json.dumps(value, indent=4, ensure_ascii=False) + "\n").encode()


def zip_bytes(files: Mapping[str, bytes]) -> bytes:
    """Zip of files by their path in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(files):
            entry = zipfile.ZipInfo(path)  # dated 1980-01-01
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, files[path], zipfile.ZIP_STORED)
    return buffer.getvalue()


def read_zip(path: Path) -> tuple[dict[str, bytes], list[str]]:
    """Files of a zip by their path in it, and its problems; nothing is written to the disk."""
    data = path.read_bytes()
    files: dict[str, bytes] = {}
    faults = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for entry in archive.infolist():
                fault = _fault(entry) or ("is there twice" if entry.filename in files else None)
                if fault:
                    faults.append(f"{entry.filename}: {fault}")
                    continue
                try:
                    files[entry.filename] = archive.read(entry)
                except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
                    faults.append(f"{entry.filename}: cannot be read ({error})")
    except (zipfile.BadZipFile, struct.error, OSError, ValueError, RuntimeError) as error:
        return {}, [f"not a readable zip ({error})"]
    if not faults:
        canonical = zip_bytes(files)
        if data != canonical:
            pairs = enumerate(zip(data, canonical, strict=False))
            place = next((k for k, (a, b) in pairs if a != b), min(len(data), len(canonical)))
            faults.append(f"byte {place} of the zip is not as `transeg package` writes it")
    return files, faults


def _fault(entry: zipfile.ZipInfo) -> str | None:
    if escapes(entry.filename):
        return "path leads out of the bundle"
    if entry.is_dir() or stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        return "not a plain file"
    if entry.compress_type != zipfile.ZIP_STORED:  # also keeps a small zip from growing large
        return "compressed; `transeg package` stores files as they are"
    return None


def escapes(path: str) -> bool:
    """Whether a path in a zip or manifest could name a file outside the folder it is unpacked into."""
    parts = PurePosixPath(path).parts
    return not parts or path.startswith("/") or ".." in parts or any(c in path for c in "\\:\0")


def read_folder(folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """Files of an unzipped bundle by their path in it, without those that runs leave behind, and its problems."""
    files: dict[str, bytes] = {}
    faults = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if inside.parts[0] in LEFT_BY_RUNS or "__pycache__" in inside.parts:
            continue
        if path.is_symlink():
            faults.append(f"{inside.as_posix()}: a link, not a plain file")
        elif path.is_file():
            files[inside.as_posix()] = path.read_bytes()
    return files, faults
