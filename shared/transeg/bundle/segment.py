"""`transeg segment`: scans in, masks out, with volumes, pictures and a record of what was done.

The masks are those of the bundle's own inference config; this only calls it and reports on what it wrote.
"""

from __future__ import annotations

import json
import logging
import platform
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, cast

import monai
import nibabel as nib
import numpy as np
import torch
import typer
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser, ConfigWorkflow
from monai.utils import ensure_tuple
from tqdm import tqdm

import transeg
from transeg.bundle.package import bundle_root
from transeg.bundle.preflight import read_overrides
from transeg.data.names import shown_part
from transeg.data.recipe import Recipe, bundle_recipe
from transeg.data.results import results_of
from transeg.data.training_cases import NAMED, USES, use_in, uses_of
from transeg.data.volumes import VolumeDataset
from transeg.errors import BatchError, DataError, failure_report, listed, root_cause
from transeg.files import EVALUATION, INDEX, RUN, digest_of, digest_of_reference, read_run, write_csv, write_text
from transeg.transforms.read import read_volume
from transeg.transforms.reports import save_figure
from transeg.visual.overview import overview

MANIFEST = "manifest.json"
VOLUMES = ("case", "structure", "voxels", "ml", "warnings", RUN)
WRITE_SECONDS = 10.0  # at least, between two writings of the manifest while cases are done


def segment(
    ctx: typer.Context,
    scans: Annotated[Path, typer.Argument(help="A scan, a folder of scans, a DICOM series, or a table cases.csv.")],
    bundle: Annotated[str, typer.Option(help="Bundle or run folder.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Leave out scans already segmented with these weights and this recipe.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw a picture of each case.")] = True,
    ensemble: Annotated[
        list[str] | None,
        typer.Option(help="Further run folder of the same bundle and data; the mean of all is segmented. Repeatable."),
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Voxel size in mm, X Y Z, of slices (TIF, PNG), which hold none (default: as in training)."),
    ] = None,
) -> None:
    """Segment scans: masks on their own grid, volumes of each structure, pictures, and a manifest.

    Further options are settings of the bundle's inference: --save_probability True, --save_translation True,
    --save_uncertainty True, --tta N, --save_mask False and others of its configs/inference.json.
    """
    settings = read_overrides(ctx.args) | ({"spacing": list(spacing)} if spacing else {})
    settings |= {"ensemble": [str(bundle_root(name)) for name in ensemble]} if ensemble else {}
    run_segmentation(scans, bundle_root(bundle), out, settings, skip_done, pictures)


def run_segmentation(
    scans: Path,
    root: Path,
    out: Path,
    settings: Mapping[str, Any] | None = None,
    skip_done: bool = False,
    pictures: bool = True,
) -> Path:
    """Segment scans with a bundle.

    Args:
        scans: a scan, a folder or a table, see `transeg.data.volumes.find_volumes`.
        root: bundle or run folder.
        out: folder for `<case>_seg.nii.gz`, `<case>.png`, `volumes.csv`, `volumes.json` and `manifest.json`.
        settings: of the bundle's inference.
        skip_done: leave out cases that the manifest has with the same inputs, weights and recipe.
        pictures: draw a picture of each case.

    Returns:
        Path of the manifest.

    Raises:
        BatchError: cases failed; all others are done.
        DataError: no scan, or none that can be used.
    """
    settings = settings or {}
    record = Record(out, root, settings)
    items = _items(root, scans, settings)
    if skip_done:
        found, items = items, [item for item in items if not record.has(item)]
        print(f"{len(found) - len(items)} of {len(found)} cases are done already")
    if items:
        for name in (INDEX, *EVALUATION):  # of earlier masks
            (out / name).unlink(missing_ok=True)
    try:
        failures = _run(root, items, settings, record, pictures) if items else {}
    finally:
        record.write()
    done = sum("failed" not in entry for entry in record.cases.values())
    files = f"masks, volumes.csv and {MANIFEST} are in {out}" if done else f"see {record.path}"
    warned = sum("warnings" in entry and "failed" not in entry for entry in record.cases.values())
    doubts = f" ({warned} with warnings)" if warned else ""
    print(f"{done} of {len(record.cases)} cases segmented{doubts}; {files}" if items else files)
    for use, text in USES.items():
        named = [case for case, entry in record.cases.items() if entry.get("seen") == use]
        if named:
            print(f"the weights were {text} {len(named)} of the cases: {listed(named, NAMED)}")
    if failures:
        raise BatchError(failure_report(failures, len(items)))
    return record.path


class Record:
    """The manifest of an output folder: of each case its inputs, outputs, volumes and warnings.

    It begins with the cases of an earlier run of the same weights, recipe and settings, and is kept up to date on disk
    while cases are done, so that an interrupted run can go on.

    Args:
        out: output folder.
        root: bundle or run folder.
        settings: of the bundle's inference.

    Raises:
        DataError: no weights, or the folder's manifest is not one.
    """

    def __init__(self, out: Path, root: Path, settings: Mapping[str, Any]) -> None:
        self.out, self.path, self.recipe = out, out / MANIFEST, bundle_recipe(root)
        weights = _digest(root / "models" / "model.pt")
        made_with = {"weights": weights, "recipe": self.recipe, "settings": _plain(settings)}
        if settings.get("ensemble"):
            made_with["ensemble"] = [_digest(Path(member) / "models" / "model.pt") for member in settings["ensemble"]]
        earlier = read_manifest(self.path)
        self.cases: dict[str, Any] = earlier.get("cases", {}) if earlier.get("made_with") == made_with else {}
        self.uses = uses_of([root, *settings.get("ensemble", ())])
        self.about = {
            "transeg": transeg.__version__,
            "software": {"python": platform.python_version(), "torch": torch.__version__, "monai": monai.__version__},
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "bundle": root.resolve().name,
            "training_cases": None if self.uses is None else len(self.uses),
            "made_with": made_with,
        }
        self._written = time.monotonic()

    def has(self, item: Mapping[str, Any]) -> bool:
        """Whether a case is done: same inputs, and all of its outputs are there."""
        entry = self.cases.get(item["case"])
        return (
            entry is not None
            and "failed" not in entry
            and all((self.out / name).is_file() for name in entry["outputs"])
            and entry.get("spacing") == _spacing(item)
            and [part["sha256"] for part in entry["inputs"]] == [part["sha256"] for part in _inputs(item)]
        )

    def add(self, item: Mapping[str, Any], warnings: Sequence[str], **found: Any) -> None:
        """Record a case."""
        entry = {"inputs": _inputs(item), "date": datetime.now(UTC).isoformat(timespec="seconds")}
        warned = list(dict.fromkeys(text for text in warnings if _is_about(text, item)))
        notes = []
        if item.get("spacing_assumed"):
            size = " x ".join(f"{value:g}" for value in item["spacing"])
            notes.append(f"the files have no voxel size; volumes are those of {size} mm")
        given = {"spacing": _spacing(item), "warnings": warned, "notes": notes}
        self.cases[item["case"]] = entry | {name: value for name, value in given.items() if value} | found
        if time.monotonic() > self._written + WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write the manifest and the volumes of all of its cases; nothing if there is none."""
        if not self.cases:
            return
        for entry in self.cases.values():
            use = use_in(self.uses or {}, (part["sha256"] for part in entry["inputs"]))
            entry |= {"seen": use} if use else {}
        cases = dict(sorted(self.cases.items()))
        volumes = {case: entry["structures"] for case, entry in cases.items() if "structures" in entry}
        run = {RUN: read_run(self.out)}
        rows = [
            {"case": case, "structure": name, **size, "warnings": len(cases[case].get("warnings", ())), **run}
            for case, of in volumes.items()
            for name, size in of.items()
        ]
        tables = [self.out / "volumes.csv", self.out / "volumes.json"]
        if volumes:
            write_csv(tables[0], VOLUMES, rows)
            write_text(tables[1], json.dumps(volumes, indent=1) + "\n")
        else:
            for table in tables:
                table.unlink(missing_ok=True)  # of an earlier run
        outputs = {name for entry in cases.values() for name in entry.get("outputs", ())}
        listed = sorted({*outputs, *(table.name for table in tables if volumes)})
        write_text(self.path, json.dumps(self.about | {"cases": cases, "outputs": listed}, indent=1) + "\n")
        self._written = time.monotonic()


def _items(root: Path, scans: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the bundle's inference finds."""
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser.update({"bundle_root": str(root), "dataset_dir": str(scans), **settings})
    return list(parser.get_parsed_content("datalist"))


def _run(
    root: Path, items: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], record: Record, pictures: bool
) -> dict[str, str]:
    """Run the bundle's inference and record each case as it is done; returns the failures."""
    logging.getLogger(ConfigWorkflow.__module__).setLevel(logging.ERROR)  # it warns of logging_file=False
    workflow = ConfigWorkflow(
        str(root / "configs" / "inference.json"),
        workflow_type="infer",
        run_id="inferring",
        logging_file=False,
        bundle_root=str(root),
        output_dir=str(record.out),
        datalist=tuple(items),  # in a list, MONAI would read the # of a reference as a config's separator
        **settings,
    )
    workflow.initialize()
    engine: Engine = workflow.parser.get_parsed_content("evaluator")
    engine.logger.addHandler(logging.NullHandler())  # failures are listed at the end
    dataset: VolumeDataset = workflow.parser.get_parsed_content("dataset")
    waiting = {item["case"]: item for item in items}
    bar = tqdm(total=len(items), desc="segmenting", unit="scan", disable=None)
    last = time.monotonic()

    def finish(engine: Engine) -> None:
        nonlocal last
        seconds, last = time.monotonic() - last, time.monotonic()
        for case in [item["case"] for item in cast(list[dict[str, Any]], engine.state.batch)]:  # decollated
            if case in dataset.failures:
                continue
            try:
                found = _report(waiting[case], record.out, record.recipe, pictures)
            except Exception as error:
                dataset.fail(case, error)
            else:
                record.add(waiting.pop(case), told, seconds=round(seconds, 2), **found)
        fail()
        bar.update(len(items) - len(waiting) - bar.n)

    def fail() -> None:
        for case in waiting.keys() & dataset.failures.keys():
            record.add(waiting.pop(case), told, failed=dataset.failures[case])

    engine.add_event_handler(Events.ITERATION_COMPLETED, finish)
    with _warnings() as told:
        try:
            workflow.run()
        except KeyboardInterrupt:
            done = len(items) - len(waiting)
            print(f"interrupted: {done} of {len(items)} cases are done; --skip-done goes on", file=sys.stderr)
            raise
        except Exception as error:  # MONAI wraps it
            if not isinstance(root_cause(error), BatchError):
                raise
        finally:
            fail()
            bar.close()
            workflow.finalize()
    return dataset.failures


def _report(item: Mapping[str, Any], out: Path, recipe: Recipe, pictures: bool) -> dict[str, Any]:
    """Outputs of a case and the volume of each structure, from the mask as it was written; draws the picture."""
    case = item["case"]
    path = out / f"{case}_seg.nii.gz"
    if not path.is_file():  # save_mask False
        return {"outputs": _outputs(out, case)}
    image = nib.Nifti1Image.from_filename(path)
    mask = np.asarray(image.dataobj)
    ml = abs(float(np.linalg.det(image.affine[:3, :3]))) / 1000
    counts = np.bincount(mask.ravel().astype(int), minlength=len(recipe["labels"]))
    structures = {
        name: {"voxels": int(counts[value]), "ml": round(int(counts[value]) * ml, 3)}
        for value, name in enumerate(recipe["labels"])
        if value
    }
    if pictures:
        caption = case + ": " + ", ".join(f"{name} {found['ml']:.1f} ml" for name, found in structures.items())
        save_figure(out, case, "", _picture(item, recipe["channels"], image, caption))
    return {"structures": structures, "outputs": _outputs(out, case)}


def _picture(item: Mapping[str, Any], channels: Sequence[str], mask: nib.Nifti1Image, caption: str) -> np.ndarray:
    file, channel = shown_part(ensure_tuple(item["image"]), channels)
    scan = read_volume(file, item.get("spacing"))
    affine = scan.affine.numpy()
    grid = nib.orientations.io_orientation(affine)
    image, label = (
        nib.orientations.apply_orientation(volume, grid) for volume in (scan[channel].numpy(), np.asarray(mask.dataobj))
    )
    spacing = nib.affines.voxel_sizes(affine)[np.argsort(grid[:, 0])]
    return overview(image, label, spacing, caption)


def _outputs(out: Path, case: str) -> list[str]:
    return [path.name for path in results_of(out, case)]


def _spacing(item: Mapping[str, Any]) -> list[float] | None:
    """Voxel size that the table gives."""
    return list(item["spacing"]) if item.get("spacing") else None


def _inputs(item: Mapping[str, Any]) -> list[dict[str, str]]:
    """References of a case with their hash; one for a whole series or stack of slices."""
    inputs = []
    for role in ("image", "mask"):
        for reference in ensure_tuple(item.get(role, ())):
            inputs.append({"role": role, "file": str(reference), "sha256": digest_of_reference(reference)})
    return inputs


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a folder of results; empty if there is none.

    Raises:
        DataError: not a manifest.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise DataError(f"{path}: not a manifest of transeg ({error}); delete it, or choose another --out") from error


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Messages of our warnings while the block runs; they are shown, too. Failures are listed at the end."""
    told: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())
            if record.levelno == logging.WARNING:
                tqdm.write(f"warning: {record.getMessage()}", file=sys.stderr)

    handler = Keep(logging.WARNING)
    logging.getLogger("transeg").addHandler(handler)
    try:
        yield told
    finally:
        logging.getLogger("transeg").removeHandler(handler)


def _is_about(message: str, item: Mapping[str, Any]) -> bool:
    return message.startswith((item["case"] + ":", *(str(reference) for reference in ensure_tuple(item["image"]))))


def _digest(path: Path) -> str:
    digest = digest_of(path)
    if not digest:
        raise DataError(f"{path}: no weights; name a bundle or run folder that has them")
    return digest


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(settings), default=str, sort_keys=True))
