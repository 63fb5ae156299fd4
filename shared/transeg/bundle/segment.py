"""`transeg segment`: scans in, masks out, with volumes, pictures and a record of what was done.

The masks are those of the bundle's own inference config; this only calls it and reports on what it wrote.
"""

from __future__ import annotations

import hashlib
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
from transeg.data.recipe import Recipe, bundle_recipe
from transeg.data.results import results_of
from transeg.data.volumes import VolumeDataset
from transeg.errors import BatchError, DataError, root_cause
from transeg.files import write_csv, write_text
from transeg.references import files_of
from transeg.transforms.read import read_volume
from transeg.transforms.reports import save_figure
from transeg.visual.overview import overview

MANIFEST = "manifest.json"
VOLUMES = ("case", "structure", "voxels", "ml")


def segment(
    ctx: typer.Context,
    scans: Annotated[Path, typer.Argument(help="A scan, a folder of scans, a DICOM series, or a table cases.csv.")],
    bundle: Annotated[str, typer.Option(help="Bundle or run folder.")],
    out: Annotated[Path, typer.Option(help="Output folder.")],
    skip_done: Annotated[
        bool, typer.Option("--skip-done", help="Leave out scans already segmented with these weights and this recipe.")
    ] = False,
    pictures: Annotated[bool, typer.Option(help="Draw a picture of each case.")] = True,
) -> None:
    """Segment scans: masks on their own grid, volumes of each structure, pictures, and a manifest.

    Further options are settings of the bundle's inference, e.g. --save_probability True.
    """
    run_segmentation(scans, bundle_root(bundle), out, read_overrides(ctx.args), skip_done, pictures)


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
    recipe = bundle_recipe(root)
    weights = _digest(root / "models" / "model.pt")
    record = _read_manifest(out)
    made_with = {"weights": weights, "recipe": recipe, "settings": _plain(settings or {})}
    earlier = record.get("cases", {}) if record.get("made_with") == made_with else {}
    items = _items(root, scans, settings or {})
    inputs = {item["case"]: _inputs(item) for item in items}
    if skip_done:
        done_already = {case for case, entry in earlier.items() if _is_done(entry, inputs.get(case), out)}
        items = [item for item in items if item["case"] not in done_already]
        print(f"{len(done_already)} of {len(inputs)} cases are done already")
    cases = {case: entry for case, entry in earlier.items() if case not in {item["case"] for item in items}}
    manifest = {
        "transeg": transeg.__version__,
        "software": {"python": platform.python_version(), "torch": torch.__version__, "monai": monai.__version__},
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "bundle": root.resolve().name,
        "made_with": made_with,
        "cases": cases,
    }
    if not items:
        return _write_manifest(out, manifest)
    failures: dict[str, str] = {}
    with _warnings() as told:
        seconds = _run(root, items, out, settings or {}, failures)
    for item in items:
        case = item["case"]
        entry = {"inputs": inputs[case], "date": datetime.now(UTC).isoformat(timespec="seconds")}
        warned = [text for text in told if _is_about(text, item)]
        entry |= {"warnings": warned} if warned else {}
        if case in failures:
            cases[case] = entry | {"failed": failures[case]}
        else:
            cases[case] = entry | {"seconds": seconds.get(case)} | _report(item, out, recipe, pictures)
    _write_volumes(out, cases)
    path = _write_manifest(out, manifest)
    done = sum("failed" not in entry for entry in cases.values())
    print(f"{done} of {len(cases)} cases segmented; masks, volumes.csv and manifest.json are in {out}")
    if failures:
        listed = "".join(f"\n  {case}: {why}" for case, why in sorted(failures.items()))
        raise BatchError(f"{len(failures)} of {len(items)} cases failed; the remaining cases were processed:{listed}")
    return path


def _items(root: Path, scans: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the bundle's inference finds."""
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser.update({"bundle_root": str(root), "dataset_dir": str(scans), **settings})
    return list(parser.get_parsed_content("datalist"))


def _run(
    root: Path, items: Sequence[Mapping[str, Any]], out: Path, settings: Mapping[str, Any], failures: dict[str, str]
) -> dict[str, float]:
    """Run the bundle's inference; fills in the failures, and returns the seconds of each other case."""
    workflow = ConfigWorkflow(
        str(root / "configs" / "inference.json"),
        workflow_type="infer",
        run_id="inferring",
        logging_file=False,
        bundle_root=str(root),
        output_dir=str(out),
        datalist=tuple(items),  # in a list, MONAI would read the # of a reference as a config's separator
        **settings,
    )
    workflow.initialize()
    engine: Engine = workflow.parser.get_parsed_content("evaluator")
    dataset: VolumeDataset = workflow.parser.get_parsed_content("dataset")
    seconds: dict[str, float] = {}
    bar = tqdm(total=len(items), desc="segmenting", unit="scan", disable=None)
    last = time.monotonic()

    def count(engine: Engine) -> None:
        nonlocal last
        now = time.monotonic()
        for item in cast(list[dict[str, Any]], engine.state.batch):  # decollated
            seconds[item["case"]] = round(now - last, 2)
        last = now
        bar.update(len(seconds) + len(dataset.failures) - bar.n)

    engine.add_event_handler(Events.ITERATION_COMPLETED, count)
    try:
        workflow.run()
    except Exception as error:  # MONAI wraps it
        if not isinstance(root_cause(error), BatchError):
            raise
        failures |= dataset.failures
    finally:
        bar.close()
        workflow.finalize()
    return seconds


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
        save_figure(out, case, "", _picture(item, image, caption))
    return {"structures": structures, "outputs": _outputs(out, case)}


def _picture(item: Mapping[str, Any], mask: nib.Nifti1Image, caption: str) -> np.ndarray:
    scan = read_volume(ensure_tuple(item["image"])[0], item.get("spacing"))
    affine = scan.affine.numpy()
    grid = nib.orientations.io_orientation(affine)
    image, label = (
        nib.orientations.apply_orientation(volume, grid) for volume in (scan[0].numpy(), np.asarray(mask.dataobj))
    )
    spacing = nib.affines.voxel_sizes(affine)[np.argsort(grid[:, 0])]
    return overview(image, label, spacing, caption)


def _write_volumes(out: Path, cases: Mapping[str, Mapping[str, Any]]) -> None:
    """The volumes of all cases of the manifest, as CSV and JSON."""
    found = {case: entry["structures"] for case, entry in sorted(cases.items()) if "structures" in entry}
    rows = [{"case": case, "structure": name, **size} for case, sizes in found.items() for name, size in sizes.items()]
    write_csv(out / "volumes.csv", VOLUMES, rows)
    write_text(out / "volumes.json", json.dumps(found, indent=1) + "\n")


def _outputs(out: Path, case: str) -> list[str]:
    return [path.name for path in results_of(out, case)]


def _inputs(item: Mapping[str, Any]) -> list[dict[str, str]]:
    """Files of a case with their hash; one for a whole series or stack of slices."""
    inputs = []
    for reference in (*ensure_tuple(item["image"]), *ensure_tuple(item.get("mask", ()))):
        digest = hashlib.sha256()
        for file in files_of(reference):
            digest.update(file.read_bytes())
        inputs.append({"file": str(reference), "sha256": digest.hexdigest()})
    return inputs


def _is_done(entry: Mapping[str, Any], inputs: Sequence[Mapping[str, str]] | None, out: Path) -> bool:
    hashes = [part["sha256"] for part in entry.get("inputs", ())]
    return (
        "failed" not in entry
        and inputs is not None
        and hashes == [part["sha256"] for part in inputs]
        and all((out / name).is_file() for name in entry.get("outputs", ()))
    )


def _read_manifest(out: Path) -> dict[str, Any]:
    path = out / MANIFEST
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError as error:
        raise DataError(f"{path}: not a manifest of transeg ({error}); delete it, or choose another --out") from error


def _write_manifest(out: Path, manifest: dict[str, Any]) -> Path:
    cases = manifest["cases"] = dict(sorted(manifest["cases"].items()))
    outputs = {name for entry in cases.values() for name in entry.get("outputs", ())}
    manifest["outputs"] = sorted({*outputs, "volumes.csv", "volumes.json"} if outputs else outputs)
    write_text(out / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return out / MANIFEST


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
    if not path.is_file():
        raise DataError(f"{path}: no weights; name a bundle or run folder that has them")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(settings), default=str, sort_keys=True))
