"""What inference left in an output folder: which weights it is of, and which files are those of a case.

Only what transeg wrote is ever removed: volumes and figures say so inside, tables by their column `RUN`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
from filelock import FileLock
from monai.config import PathLike
from PIL import Image

from transeg.errors import DataError, UserError
from transeg.files import FIGURE_TEXT, PAGE, PAGE_TEXT, RUN, RUNS, digest_of, read_run, remove_rows, write_text

logger = logging.getLogger(__name__)

NAMES = ("channels", "labels")  # of a recipe: what the voxels of results mean


def open_results(
    folder: PathLike, weights: PathLike, recipe: Mapping[str, Any], ensemble: Sequence[PathLike] = ()
) -> None:
    """Create an output folder if needed and record which weights and recipe its results will be of, before a long run.

    `runs.json` then has "current", the run that rows of tables are marked with (column `RUN`), and "runs", what is
    known about each. A run is named after its weights and recipe, so the same ones go on with the same run.

    Args:
        folder: the output folder.
        weights: file of the weights; may be missing.
        recipe: of the weights.
        ensemble: run folders whose weights segment along.

    Raises:
        UserError: the folder cannot be created or written to.
    """
    folder, weights = Path(folder), Path(weights)
    digest = digest_of(weights)
    rules = json.dumps(recipe, sort_keys=True)
    further = {str(member): digest_of(Path(member) / "models" / "model.pt") for member in ensemble}
    run = hashlib.sha256(" ".join([digest, *further.values(), rules]).encode()).hexdigest()[:8]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{RUNS}.lock"):
            others = {name: known for name, known in _runs(folder).items() if name != run}
            known = {"weights": str(weights), "sha256": digest} | ({"ensemble": further} if further else {})
            known |= {key: recipe[key] for key in NAMES if key in recipe}
            runs = others | {run: known}
            write_text(folder / RUNS, json.dumps({"current": run, "runs": runs}, indent=1) + "\n")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write to the output folder ({error.strerror}); set output_dir, or --out, to another"
        ) from error
    if others:
        logger.warning(
            "%s also holds results of other weights or another recipe (see %s); those of the same cases are replaced, "
            "and the column %s of its tables tells which are of this run: %s", folder, RUNS, RUN, run,
        )  # fmt: skip


def _runs(folder: Path) -> dict[str, Any]:
    return json.loads((folder / RUNS).read_text())["runs"] if read_run(folder) else {}


def names_of_results(folder: PathLike) -> dict[str, list[str]]:
    """Names of the channels and labels, background first, of the results in a folder.

    Raises:
        DataError: not recorded.
    """
    path = Path(folder) / RUNS
    known = _runs(Path(folder)).get(read_run(folder), {}) if path.is_file() else {}
    if not {*NAMES} <= known.keys():
        raise DataError(f"{path}: does not tell channels and labels of the results; make them again with this version")
    return {key: list(known[key]) for key in NAMES}


def remove_results(folder: PathLike, case: str, keep: Collection[PathLike] = ()) -> list[Path]:
    """Remove what transeg wrote for a case: its results and the rows of its tables.

    Args:
        folder: output folder; may be missing.
        case: its name.
        keep: files that are still needed, such as those that inference reads.

    Returns:
        The removed files.
    """
    kept = {os.path.realpath(path) for path in keep}
    removed = [path for path in results_of(folder, case) if os.path.realpath(path) not in kept]
    for path in removed:
        path.unlink()
    for path in Path(folder).glob("*.csv"):
        remove_rows(path, case)
    return removed


def results_of(folder: PathLike, case: str) -> list[Path]:
    """Volumes `<case>_<postfix>.nii.gz`, figures `<case>_<what>.png` and `<case>.png`, and the page of a case.

    Args:
        folder: output folder; may be missing.
        case: its name.
    """
    folder = Path(folder)
    return [path for path in sorted(folder.iterdir()) if _is_result(path, case)] if folder.is_dir() else []


def _is_result(path: Path, case: str) -> bool:
    rest = path.name.removeprefix(case)
    if rest == path.name or (rest != ".png" and not rest.startswith("_")):
        return False
    try:
        if rest == PAGE:
            with path.open(errors="replace") as page:
                return f'content="{PAGE_TEXT}"' in page.read(500)
        if rest.endswith(".nii.gz"):
            return _description(path) == f"transeg {rest[1:].removesuffix('.nii.gz')}"
        if rest.endswith(".png"):
            with Image.open(path) as figure:
                return figure.info.get(FIGURE_TEXT) == f"transeg {rest[1:-4]}".strip()
    except (OSError, nib.filebasedimages.ImageFileError):  # whatever it is, it is not ours
        pass
    return False


def _description(path: Path) -> str:
    header = nib.load(path).header
    return header["descrip"].item().decode(errors="replace") if isinstance(header, nib.Nifti1Header) else ""
