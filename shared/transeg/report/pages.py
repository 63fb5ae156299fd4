"""Pages of a folder of results: one of each case, and one of all."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from PIL import Image

import transeg
from transeg.data.names import shown_channel, shown_part
from transeg.data.training_cases import USES
from transeg.errors import DataError
from transeg.files import EVALUATION, INDEX, PAGE, PAGE_TEXT, RUN, digest_of_reference, write_text
from transeg.references import SLICES, parse, suffix_of
from transeg.report.layers import Grid, Layer
from transeg.transforms.members import DISAGREEMENT, UNCERTAINTY
from transeg.transforms.read import read_volume
from transeg.visual.tiles import LABEL_COLOURS, grey, label_overlay, upright
from transeg.visual.volumes import widest_slice

if TYPE_CHECKING:
    import jinja2

TABLES = ("volumes.csv", *EVALUATION)  # shown in another way, or elsewhere
THUMBNAIL = 160  # pixels
Rows = list[dict[str, str]]


def write_case(out: Path, case: str, manifest: Mapping[str, Any], measures: Mapping[str, Rows]) -> dict[str, Any]:
    """Write the page of a case from what is on disk.

    Args:
        out: folder of results.
        case: its name.
        manifest: of the folder.
        measures: rows of the case by table, see `read_measures`.

    Returns:
        What the page of all cases says about it.

    Raises:
        DataError: a file of the case is missing, or does not belong to the others.
    """
    entry = manifest["cases"][case]
    about = about_case(case, entry)
    if about["problem"] or not (out / f"{case}_seg.nii.gz").is_file():
        return about
    recipe = manifest["made_with"]["recipe"]
    layers, grid, oriented = read_layers(out, case, entry, recipe)
    key = colours(len(recipe["labels"]) - 1)
    text = _template("case.html").render(
        about,
        bundle=manifest["bundle"],
        measures=measures,
        labels=recipe["labels"][1:],
        colours=key,
        manifest=json.dumps({"case": entry} | {k: v for k, v in manifest.items() if k != "cases"}, indent=1),
        grid=grid,
        version=transeg.__version__,
        payload={
            "shape": layers[0].voxels.shape,
            "spacing": grid.spacing,
            "steps": grid.steps,
            "voxels": grid.voxels,
            "oblique": round(grid.oblique),
            "oriented": oriented,
            "comparable": not recipe.get("domains"),  # otherwise the translation is of another modality
            "colours": key,
            "layers": [layer.packed() for layer in layers],
        },
    )
    write_text(out / f"{case}{PAGE}", text)
    return about | {"page": f"{case}{PAGE}", "thumbnail": thumbnail(layers, grid.spacing)}


def about_case(case: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the page of all cases says about one that has no page.

    Args:
        case: its name.
        entry: of the manifest.
    """
    return {
        "case": case,
        "problem": f"failed: {entry['failed']}" if "failed" in entry else "",
        "warnings": [text.removeprefix(f"{case}: ") for text in entry.get("warnings", ())],
        "notes": [*entry.get("notes", ()), *_seen(entry)],
        "structures": entry.get("structures", {}),
        "page": "",
        "thumbnail": "",
    }


def _seen(entry: Mapping[str, Any]) -> list[str]:
    return [f"the weights were {USES[entry['seen']]} this scan"] if "seen" in entry else []


def write_index(
    out: Path, cases: Sequence[Mapping[str, Any]], manifest: Mapping[str, Any], entropies: Mapping[str, float]
) -> Path:
    """Write the page of all cases, those that need a look first; returns its path.

    Args:
        out: folder of results.
        cases: what `write_case` returned.
        manifest: of the folder.
        entropies: of the cases whose uncertainty is known.
    """
    cases = sorted(
        cases, key=lambda case: (not case["problem"], not case["warnings"], -entropies.get(case["case"], 0.0))
    )
    structures = list(dict.fromkeys(name for case in cases for name in case["structures"]))
    about = {key: value for key, value in manifest.items() if key != "cases"}
    text = _template("index.html").render(
        cases=cases,
        structures=structures,
        entropies=entropies,
        bundle=manifest["bundle"],
        manifest=json.dumps(about, indent=1),
        version=transeg.__version__,
    )
    write_text(out / INDEX, text)
    return out / INDEX


def read_layers(
    out: Path, case: str, entry: Mapping[str, Any], recipe: Mapping[str, Any]
) -> tuple[list[Layer], Grid, bool]:
    """The scan and everything that was written for a case, on one grid.

    Raises:
        DataError: a file is missing, has changed since, or is on another grid.

    Returns:
        The layers, the scan first; their grid; and whether the scan says where left and right are.
    """
    inputs = [part for part in entry["inputs"] if part.get("role", "image") == "image"]
    channel = shown_channel(recipe["channels"])
    part, of_file = shown_part(inputs, recipe["channels"])
    file = part["file"]
    scan = read_volume(file, entry.get("spacing"))
    if digest_of_reference(file) != part["sha256"]:
        raise DataError(f"{file}: has changed since it was segmented; segment the case again")
    grid = Grid(scan.affine.numpy(), scan.shape[1:])
    shown = scan[of_file].numpy()
    title = f"scan ({recipe['channels'][channel]})" if len(recipe["channels"]) > 1 else "scan"
    layers = [grid.layer(title, "image", shown)]
    own = layers[0].window
    for name in sorted(entry["outputs"]):
        postfix = name.removeprefix(f"{case}_").removesuffix(".nii.gz")
        if not name.endswith(".nii.gz"):
            continue
        path = out / name
        if not path.is_file():
            raise DataError(f"{path}: missing; segment the case again")
        volume = np.asarray(nib.Nifti1Image.from_filename(path).dataobj)
        if postfix == "seg":
            layers.append(grid.layer("segmentation", "labels", volume))
        elif postfix == "prob":
            inside = volume if volume.ndim == 3 else 1 - volume[..., 0]  # of everything but the background
            layers.append(grid.layer("probability", "probability", inside))
        elif postfix in (UNCERTAINTY, DISAGREEMENT):
            layers.append(grid.layer(postfix, "probability", volume))
        else:
            volume = volume[..., channel] if volume.ndim == 4 else volume
            same = None if recipe.get("domains") else own
            title = "translation" if postfix == "translation" else f"translation ({postfix})"
            layers.append(grid.layer(title, "image", volume, same))
    return layers, grid, suffix_of(parse(file).path) not in SLICES


def read_measures(out: Path) -> dict[str, dict[str, Rows]]:
    """Rows of the tables of the folder, by case and table."""
    found: dict[str, dict[str, Rows]] = {}
    for path in sorted(out.glob("*.csv")):
        if path.name in TABLES:
            continue
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                measures = {k: v for k, v in row.items() if k not in ("case", RUN)}
                found.setdefault(row.get("case", ""), {}).setdefault(path.stem, []).append(measures)
    return found


def colours(labels: int) -> list[list[int]]:
    """Red, green and blue of each label."""
    return [LABEL_COLOURS[k % len(LABEL_COLOURS)].tolist() for k in range(labels)]


def thumbnail(layers: Sequence[Layer], spacing: Sequence[float]) -> str:
    """The slice with most of the segmentation, as a PNG in base64."""
    scan = layers[0].voxels
    mask = next((layer.voxels for layer in layers if layer.kind == "labels"), np.zeros_like(scan))
    z = widest_slice(mask, scan)
    pixels = label_overlay(grey(upright(scan[..., z]), 0, 255), upright(mask[..., z]))
    size = np.array([pixels.shape[1] * spacing[0], pixels.shape[0] * spacing[1]])
    width, height = np.maximum(1, np.round(THUMBNAIL * size / size.max())).astype(int).tolist()
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # loads slowly, and the other commands do not need it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transeg.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    folder = resources.files("transeg.report") / "templates"
    environment.globals["generator"] = PAGE_TEXT
    environment.globals["style"] = (folder / "style.css").read_text()
    environment.globals["viewer"] = (folder / "viewer.js").read_text()
    return environment


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(name)
