"""The opening image of the README: a scan that the released weights of each bundle have not seen.

Brains are of a test patient of TCGA-LGG, thigh and heart are phantoms.

    python -m benchmarks.methods_picture SLICES --work WORK
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import nibabel as nib
import numpy as np
import typer
from PIL import Image
from transeg.demo.steps import read_ras
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import PREDICTION, grey, label_overlay, upright, window
from transeg.visual.volumes import widest_slice

from benchmarks.lgg import FLAIR, read_flair, read_reference, to_ras
from benchmarks.results import ROOT
from benchmarks.run import run_bundle

BUNDLES = {
    "GenSeg": "brain_mri_genseg_segmentation",
    "PathoGAN": "brain_mri_pathogan_segmentation",
    "hard to easy": "thigh_mri_muscle_segmentation",
    "CT and MR": "cardiac_ct_mr_segmentation",
}
SIDE = 200
PATIENT = "TCGA_DU_6400_19830518"
# folder of the scan; file name endings of the displayed channel, of the reference and of the saved translation
PHANTOMS = {
    "hard to easy": ("thigh/severe", "", "_mask", "_translation"),
    "CT and MR": ("heart/ct_train", "_image", "_label", "_mr"),
}


def make_phantoms(folder: Path, seed: int) -> None:
    """A thigh of each grade and a heart in CT and MR, in folders named after the kind."""
    for kind, cases in (("thigh", 4), ("heart", 1)):
        command = [sys.executable, "-m", "data_prep.phantoms", kind, "--out", folder / kind]
        subprocess.run([*map(str, command), "--cases", str(cases), "--seed", str(seed), "--overwrite"], check=True)


def segment(method: str, folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Scan, translation and mask (X, Y, Z) of a method's phantom, and the slice with the largest reference."""
    place, channel, reference, translation = PHANTOMS[method]
    options = ["--modality", "ct"] if translation == "_mr" else []
    written = infer(method, folder / place, out, translation, *options)
    [label] = (folder / place).glob(f"*{reference}.nii.gz")
    scan = label.with_name(label.name.replace(reference, channel))
    image, translated, mask = (x[..., 0] if x.ndim == 4 else x for x in map(read_ras, (scan, *written)))
    return image, translated, mask, widest_slice(read_ras(label))


def segment_patient(method: str, folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """The same of a patient of TCGA-LGG: FLAIR."""
    translation, mask = (nib.Nifti1Image.from_filename(path) for path in infer(method, folder, out, "_translation"))
    slices = f"{folder / folder.name}_*.tif"
    flair = read_flair({"image": [f"{slices}#{k}" for k in range(3)]}, scaled=False)
    reference = read_reference({"image": [slices], "label": slices.replace(".tif", "_mask.tif")})
    volumes = flair, np.asarray(translation.dataobj)[..., FLAIR], np.asarray(mask.dataobj)
    scan, healthy, found = (to_ras(volume, mask.affine) for volume in volumes)
    return scan, healthy, found, widest_slice(reference)


def infer(method: str, scans: Path, out: Path, translation: str, *options: object) -> list[Path]:
    """Files of translation and mask of the one scan in a folder."""
    configs = ROOT / "bundles" / BUNDLES[method] / "configs"
    places = ["--dataset_dir", scans, "--output_dir", out / method, "--save_translation", True]
    run_bundle("inferring", configs, ["inference.json"], *places, *options)
    return [next((out / method).rglob(f"*{end}.nii.gz")) for end in (translation, "_seg")]


def column(scan: np.ndarray, translation: np.ndarray, mask: np.ndarray, z: int) -> list[Tile]:
    """Scan, translation and segmentation of a slice, cropped to the body."""
    scan, translation, mask = (upright(volume[..., z]) for volume in (scan, translation, mask))
    inside = scan > (0.1 * np.percentile(scan, 99) if scan.min() >= 0 else -500)  # neither air nor noise
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    limits = window(scan, inside)
    ground = _square(grey(scan[box], *limits))
    same_unit = scan.min() >= 0  # CT becomes MR
    easy = _square(grey(translation[box], *(limits if same_unit else window(translation[box]))))
    found = _square(mask[box].astype(np.uint8), Image.Resampling.NEAREST)
    if found.max() > 1:
        return [Tile(ground), Tile(easy), Tile(label_overlay(ground, found))]
    return [Tile(ground), Tile(easy), Tile(ground, [(found > 0, PREDICTION)])]


def _square(image: np.ndarray, how: Image.Resampling = Image.Resampling.BICUBIC) -> np.ndarray:
    """Pad with black to a square and resize to SIDE."""
    spare = [max(image.shape[:2]) - n for n in image.shape[:2]]
    pads = [(n // 2, n - n // 2) for n in spare] + [(0, 0)] * (image.ndim - 2)
    return np.asarray(Image.fromarray(np.pad(image, pads)).resize((SIDE, SIDE), how))


def draw(volumes: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray, int]]) -> np.ndarray:
    """One column per method."""
    columns = [column(*found) for found in volumes.values()]
    return panel(list(zip(*columns, strict=True)), list(volumes))


def main(
    slices: Annotated[Path, typer.Argument(help="Folder of the patients of TCGA-LGG.")],
    work: Annotated[Path, typer.Option(help="Folder for phantoms and the output of inference.")],
    out: Annotated[Path, typer.Option(help="Image file to write.")] = ROOT / "docs" / "methods.png",
    patient: Annotated[str, typer.Option(help="A test patient.")] = PATIENT,
    seed: Annotated[int, typer.Option(help="Random seed of the phantoms; not one used for training.")] = 1000,
) -> None:
    """Run inference with every bundle and save the image."""
    make_phantoms(work / "raw", seed)
    volumes = {
        method: segment(method, work / "raw", work / "out")
        if method in PHANTOMS
        else segment_patient(method, slices / patient, work / "out")
        for method in BUNDLES
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(volumes)).save(out)


if __name__ == "__main__":
    typer.run(main)
