"""`transeg verify`: check that an archive or folder is a released bundle: intact, safe to load, consistent."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
import typer

import transeg
from transeg.bundle.archive import MANIFEST, escapes, manifest, read_folder, read_zip
from transeg.bundle.config import version_faults

WEIGHTS = "models/model.pt"


def verify(
    path: Annotated[Path, typer.Argument(help="Archive of a bundle, or the folder it was unzipped to.")],
) -> None:
    """Check a downloaded bundle: detects any modification, unsafe paths and weights, unknown names in its configs, and
    weights of another network.

    The last two run the bundle's own code, after all other checks have passed.
    """
    faults = problems(path)
    for fault in faults:
        typer.echo(f"{path}: {fault}")
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{path}: OK: intact, safe to load, consistent")


def problems(path: Path) -> list[str]:
    """Problems of a bundle, one per line; none if it is as it was released.

    Args:
        path: an archive written by `transeg package`, with its .sha256 beside it if there is one, or the folder it was
            unzipped to (output of runs there, `data`, `eval`, `runs` and caches, is ignored).
    """
    path = Path(path)
    if path.is_dir():
        files, faults = read_folder(path)
        return faults + _content_problems(files) or _coherence_problems(path)
    if not path.is_file():
        return ["no such file or folder"]
    faults = _checksum_problems(path)
    entries, more = read_zip(path)
    faults += more
    bases = {entry.split("/")[0] for entry in entries}
    if len(bases) > 1:
        return [*faults, f"more than one base folder: {', '.join(sorted(bases))}"]
    files = {entry.partition("/")[2]: content for entry, content in entries.items()}
    faults += _content_problems(files) if files else []
    if faults:
        return faults
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return _coherence_problems(Path(folder))


def _checksum_problems(path: Path) -> list[str]:
    beside = path.with_name(path.name + ".sha256")
    if not beside.is_file():
        return []
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    expected = beside.read_text(errors="replace").split()[:1]
    return [] if expected == [found] else [f"SHA-256 is {found}, not that in {beside.name}; download it again"]


def _content_problems(files: Mapping[str, bytes]) -> list[str]:
    if MANIFEST not in files:
        return [f"{MANIFEST}: missing; package the bundle first, or check it by `transeg preflight`"]
    try:
        listed = {
            str(name): (entry["sha256"], entry["size"]) for name, entry in json.loads(files[MANIFEST])["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{MANIFEST}: cannot be read ({error!r})"]
    faults = []
    for name in sorted(listed.keys() | files.keys() - {MANIFEST}):
        if escapes(name):
            faults.append(f"{name}: path leads out of the bundle")
        elif name not in files:
            faults.append(f"{name}: missing")
        elif name not in listed:
            faults.append(f"{name}: not in {MANIFEST}")
        elif listed[name] != (hashlib.sha256(files[name]).hexdigest(), len(files[name])):
            faults.append(f"{name}: changed")
    if not faults and files[MANIFEST] != manifest(files):
        faults.append(f"{MANIFEST}: changed")
    if WEIGHTS not in listed:
        faults.append(f"{WEIGHTS}: missing from {MANIFEST}")
    return faults or _pickle_problems(files[WEIGHTS])


def _pickle_problems(weights: bytes) -> list[str]:
    try:
        torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, ValueError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if "Unsupported" in line), str(error).split("\n")[0]
        )
        return [f"{WEIGHTS}: does not load with weights_only=True ({reason}); do not load it otherwise"]
    return []


def _version(folder: Path) -> str:
    """Version of the transeg in the bundle."""
    init = folder / "transeg" / "__init__.py"
    found = re.search(r'__version__ = "(.+)"', init.read_text()) if init.is_file() else None
    return found[1] if found else transeg.__version__


def _coherence_problems(folder: Path) -> list[str]:
    faults = version_faults(_version(folder))
    if faults:
        return faults
    script = Path(__file__).with_name("check.py").resolve()
    command = [sys.executable, "-c", f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    faults = [line for line in done.stdout.splitlines() if line]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        faults.append(f"checking its configs and weights ended with status {done.returncode}: {last}")
    return faults
