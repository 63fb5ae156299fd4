"""A real contrast CT of the heart with the released weights: segmented, translated to MR and back to CT.

Cropped around the heart and in full, on the bundle's grid and on that of the paper. There is no reference for the
regions; measured are whether masks and translations are on the scan's grid, the change by translation to MR and back,
and artefacts at tile borders.

    python -m benchmarks.cardiac_real --image CT.nii.gz --mask HEART.nii.gz --work WORK --picture real.png
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import nibabel as nib
import numpy as np
import torch
import typer
from monai.bundle import ConfigParser
from PIL import Image
from transeg.demo.steps import read_ras
from transeg.engines.weights import load_weights
from transeg.files import volume_stem
from transeg.inferers.tiled import TiledInferer, tile_edges
from transeg.methods.cardiac.panel import PLANES, orthogonal_slices
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing
from transeg.methods.cardiac.recipe import HEART
from transeg.metrics.seams import seam_score
from transeg.visual.panel import panel

from benchmarks.results import ROOT, write_result
from benchmarks.run import run_bundle

BUNDLE = ROOT / "bundles" / "cardiac_ct_mr_segmentation"
CONFIGS = BUNDLE / "configs"
PAPER_GRID: list[object] = ["--recipe#pixdim", 1.5, "--recipe#image_size", "[112,112,86]"]
SETTINGS: dict[str, list[object]] = {
    "shipped grid, around the heart": [],
    "shipped grid, whole": ["--full_volume", True],
    "1.5 mm, 112 x 112 x 86": PAPER_GRID,
    "1.5 mm, whole": [*PAPER_GRID, "--full_volume", True],
}
HU = (-150.0, 550.0)  # display range


def infer(items: Sequence[Mapping[str, object]], modality: str, out: Path, options: Sequence[object]) -> float:
    """Write masks and translations of scans; seconds, including the start of Python."""
    start = time.perf_counter()
    places = ["--output_dir", out, "--modality", modality, "--datalist", json.dumps(items), "--save_mask", True]
    run_bundle("inferring", CONFIGS, ["inference.json", "translate.json"], *places, *options)
    return time.perf_counter() - start


def round_trip(image: Path, mask: Path, out: Path, options: Sequence[object]) -> dict[str, Any]:
    """Segment a CT, translate it to MR and back to CT, and compare on the scan's grid."""
    centre = middle(mask)
    case = volume_stem(image)
    seconds = infer([{"image": str(image), "case": case, "centre": centre}], "ct", out, options)
    as_mr = out / f"{case}_mr.nii.gz"
    infer([{"image": str(as_mr), "case": f"{case}_mr", "centre": centre}], "mr", out / "back", options)
    written = {"mask": out / f"{case}_seg.nii.gz", "mr": as_mr, "ct": out / "back" / f"{case}_mr_ct.nii.gz"}
    scan, volumes = _load(image), {name: _load(path) for name, path in written.items()}
    again, found = (np.asarray(volumes[name].dataobj) for name in ("ct", "mask"))
    seen = np.asarray(volumes["mr"].dataobj) > 0
    spread = np.clip(np.asarray(scan.dataobj), -100, 800)
    ml = float(np.prod(scan.header.get_zooms()[:3])) / 1000
    return {
        "seconds": seconds,
        "same_affine": all(np.allclose(v.affine, scan.affine, atol=1e-3) for v in volumes.values()),
        "same_shape": all(v.shape == scan.shape for v in volumes.values()),
        "regions_ml": {name: float((found == k).sum() * ml) for k, name in enumerate(HEART["labels"]) if k},
        "hu_range": [float(again.min()), float(again.max())],
        "mean_change_hu": float(np.abs(again - spread)[seen].mean()),
        "files": {name: str(path) for name, path in written.items()},
    }


def _load(path: Path) -> nib.Nifti1Image:
    return cast(nib.Nifti1Image, nib.load(path))


def middle(mask: Path) -> list[float]:
    """Centre of the bounding box of a mask, in mm."""
    image = _load(mask)
    voxels = np.argwhere(np.asarray(image.dataobj) > 0)
    centre = (voxels.min(axis=0) + voxels.max(axis=0)) / 2
    return (image.affine @ [*centre, 1])[:3].round(2).tolist()


@torch.inference_mode()
def tiles(image: Path, tile: int) -> dict[str, Any]:
    """Translate the full scan at 1.5 mm in one pass and in tiles."""
    parser = ConfigParser()
    parser.read_config(CONFIGS / "inference.json")
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, BUNDLE / "models" / "model.pt")
    volume = cardiac_preprocessing(HEART, modality="ct", whole=True)({"image": str(image)})["image"][None]
    found: dict[str, Any] = {"size": list(volume.shape[2:]), "tile": tile}
    outputs = {}
    for name, most in (("one pass", 2**30), ("tiles", 0)):
        start = time.perf_counter()
        outputs[name] = TiledInferer(tile, most)(volume, network.translate, "mr")[0, 0].numpy()
        seam = seam_score(outputs[name], tile_edges(outputs[name].shape, tile))
        found[name] = {"seconds": time.perf_counter() - start, "seam_score": seam}
    difference = np.abs(outputs["tiles"] - outputs["one pass"]).max() / np.ptp(outputs["one pass"])
    return found | {"difference_of_range": float(difference)}


def draw(image: Path, files: Mapping[str, str]) -> np.ndarray:
    """Three cuts through the scan, its regions, its translation, and the translation back."""
    scan, mask, as_mr, again = (read_ras(path) for path in (image, files["mask"], files["mr"], files["ct"]))
    rows = [orthogonal_slices(scan, limits=HU), orthogonal_slices(scan, mask, HU), orthogonal_slices(as_mr)]
    rows.append(orthogonal_slices(again, limits=HU))
    return panel(rows, PLANES, ["CT", "regions", "as MR", "MR as CT again"])


def main(
    image: Annotated[Path, typer.Option(help="CT, isotropic voxels.")],
    mask: Annotated[Path, typer.Option(help="Heart mask, on any grid.")],
    work: Annotated[Path, typer.Option(help="Folder for the output of inference.")],
    picture: Annotated[Path | None, typer.Option(help="Image file to write.")] = None,
    tile: Annotated[int, typer.Option(help="Tile size in voxels.")] = 64,
) -> None:
    """Run all settings and write the result."""
    found = {name: round_trip(image, mask, work / str(i), o) for i, (name, o) in enumerate(SETTINGS.items())}
    if picture is not None:
        first = next(iter(found.values()))
        Image.fromarray(draw(image, first["files"])).save(picture)
    for row in found.values():
        del row["files"]
    print(write_result("cardiac_real", "contrast CT of the heart", [], {"runs": found, "tiles": tiles(image, tile)}))


if __name__ == "__main__":
    typer.run(main)
