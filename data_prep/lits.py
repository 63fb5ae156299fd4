"""LiTS abdominal CT: volumes to axial slices of the liver with and without lesion.

Source: Vorontsov et al., section 4.5, and their public code for what the paper leaves open. Intensities are
mean-centred and divided by five standard deviations, both over the liver of the volume (lesions included, as at
inference they are not known); outside the liver 0. Slices whose area is more than 6 % liver are cropped to the liver's
bounding box in that slice and stretched to 256 x 256 pixels. Presence: a lesion at least 6 pixels wide along X or Y,
in the pixels of the scan. Absence: no lesion. The rest is dropped. Every slice is listed once, and the absence slices
of validation and test patients stay there. Training absence items carry a weight, so that their axial positions
(relative to the stretch of kept slices of the liver) are drawn by the 20-bin histogram of the presence slices.
Four folds by patient; 10 % of the patients that are not in the test fold are for validation.

All of LiTS (131 scans, about 17,500 slices) takes 3.4 GB on disk. Memory follows the longest scan: about 14 bytes for
each voxel, 4 GB for 512 x 512 x 1000, in each worker.

    python -m data_prep.lits --data LITS --out OUT --fold 0
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from monai.transforms import Compose, Orientationd
from scipy import ndimage
from transeg.data.slices import CaseSlices
from transeg.errors import UserError, VolumeError
from transeg.transforms.load import LoadVolumed

from data_prep.cases import Case, names_of, prepare_cases, run_command, unique_names
from data_prep.splits import split_patients

LESION = 2
FOLDS = 4
BINS = 20


def find_cases(folder: Path) -> list[Case]:
    """Pair `volume-N.nii(.gz)` with `segmentation-N.nii(.gz)`, wherever they lie under the folder.

    Raises:
        FileNotFoundError: no volume.
        ValueError: two volumes of the same number.
    """
    files = {kind: _numbered(folder, kind) for kind in ("volume", "segmentation")}
    if not files["volume"]:
        raise FileNotFoundError(f"{folder}: no volume-N.nii or volume-N.nii.gz in it; correct --data")
    unique_names(f"volume-{number}" for number, _ in files["volume"])
    segmentations = dict(files["segmentation"])
    cases = []
    for number, path in files["volume"]:
        label = segmentations.get(number)
        problem = "" if label else f"{path}: no segmentation-{number} beside it; add it or leave the volume out"
        cases.append(Case(f"volume-{number}", images=(path,), label=label, problem=problem))
    return cases


def _numbered(folder: Path, kind: str) -> list[tuple[int, Path]]:
    found = [(re.fullmatch(rf"{kind}-(\d+)\.nii(\.gz)?", path.name), path) for path in folder.rglob(f"{kind}-*.nii*")]
    return sorted((int(match[1]), path) for match, path in found if match)


def liver_slices(
    image: np.ndarray, label: np.ndarray, size: int = 256, min_liver: float = 0.06, min_lesion: int = 6
) -> CaseSlices:
    """Normalise a volume in its liver and keep the slices that belong to a domain.

    Args:
        image: (X, Y, Z).
        label: (X, Y, Z); 0 background, 1 liver, 2 lesion.
        size: edge of the resized slices in pixels.
        min_liver: share of the slice's area that the liver must exceed.
        min_lesion: pixels that a lesion must span along X or Y.

    Returns:
        Slices (N, 1, size, size) with "z" (axial index) and "position" in (0, 1), from the lowest to the highest slice
        with enough liver.

    Raises:
        VolumeError: no liver, or constant intensity in it.
    """
    liver = label > 0
    if not liver.any():
        raise VolumeError("no liver (no voxel of the segmentation is above 0); replace the segmentation")
    voxels = image[liver].astype(np.float64)
    mean, scale = voxels.mean(), 5 * voxels.std()
    if scale <= 1e-6 * abs(mean):
        raise VolumeError("the liver has constant intensity; replace the volume")
    shown = np.flatnonzero(liver.any(axis=(0, 1)))
    large = np.flatnonzero(liver.mean(axis=(0, 1)) > min_liver)
    images, labels, fields = [], [], []
    dropped = {"little liver": len(shown) - len(large), "small lesion": 0}
    for z in large.tolist():
        lesion = label[:, :, z] == LESION
        if lesion.any() and lesion_width(lesion) < min_lesion:
            dropped["small lesion"] += 1
            continue
        box = ndimage.find_objects(liver[:, :, z].astype(np.uint8))[0]
        part = np.where(liver[:, :, z], (image[:, :, z] - mean) / scale, 0)[box]
        images.append(_resized(part, size, "bilinear"))
        labels.append(_resized(lesion[box], size, "nearest-exact"))
        fields.append({"z": z, "position": round((z - large[0] + 0.5) / (large[-1] - large[0] + 1), 4)})
    return CaseSlices(
        np.asarray(images, np.float16).reshape(-1, 1, size, size),
        np.asarray(labels, np.uint8).reshape(-1, size, size),
        fields,
        dropped,
    )


def lesion_width(lesion: np.ndarray) -> int:
    """Pixels that the widest connected lesion of a slice (X, Y) spans along X or Y."""
    regions = ndimage.find_objects(ndimage.label(lesion, structure=np.ones((3, 3)))[0])
    return max((side.stop - side.start for region in regions for side in region), default=0)


def _resized(part: np.ndarray, size: int, mode: str) -> np.ndarray:
    tensor = torch.from_numpy(part.astype(np.float32))[None, None]
    return F.interpolate(tensor, (size, size), mode=mode)[0, 0].numpy()


def weigh_by_position(presence: list[dict], absence: list[dict]) -> None:
    """Give absence items the weights that draw them by the 20-bin histogram of the presence items' positions.

    The weight is the share of presence items in the bin over the number of absence items in it, so that the positions
    drawn follow the histogram as far as every bin has an absence item. (The authors' code leaves out the division.)
    Without a bin in common the items stay as they are, all equally likely.
    """
    bins = [np.minimum([int(item["position"] * BINS) for item in items], BINS - 1) for items in (presence, absence)]
    wanted, present = (np.bincount(np.asarray(b, dtype=int), minlength=BINS) for b in bins)
    weights = wanted / len(presence) / np.maximum(present, 1)
    if weights[bins[1]].sum() > 0:
        for item, b in zip(absence, bins[1], strict=True):
            item["weight"] = round(float(weights[b]), 8)


def _make(case: Case, size: int, min_liver: float, min_lesion: int) -> CaseSlices:
    load = Compose(
        [
            LoadVolumed("image"),
            LoadVolumed("label", allowed_labels=(0, 1, LESION), like="image"),
            Orientationd(("image", "label"), axcodes="RAS", labels=None),
        ]
    )
    volumes = load({"image": str(case.images[0]), "label": str(case.label)})
    try:
        return liver_slices(volumes["image"][0].numpy(), volumes["label"][0].numpy(), size, min_liver, min_lesion)
    except VolumeError as error:
        raise VolumeError(f"{case.label}: {error}") from error


def fold_cases(cases: list[Case], fold: int, seed: int) -> list[str]:
    """Names of the test cases of a fold: a quarter of the patients, every one in just one fold."""
    if not 0 <= fold < FOLDS:
        raise UserError(f"--fold {fold}: choose from 0 to {FOLDS - 1}")
    if len(cases) < FOLDS:
        raise UserError(f"{len(cases)} volumes do not make {FOLDS} folds; add volumes")
    names = sorted(case.name for case in cases)
    return np.random.default_rng((seed, 2)).permutation(names)[fold::FOLDS].tolist()


def prepare(
    data: Annotated[Path, typer.Option(help="Folder of the volumes, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    fold: Annotated[int, typer.Option(help="Which of the four folds is the test set, 0 to 3.")] = 0,
    size: Annotated[int, typer.Option(help="Edge of a slice in pixels.")] = 256,
    min_liver: Annotated[float, typer.Option(help="Share of a slice that the liver must exceed.")] = 0.06,
    min_lesion: Annotated[int, typer.Option(help="Pixels that a lesion must span.")] = 6,
    validation: Annotated[float, typer.Option(help="Share (below 1) or number of the patients not in test.")] = 0.1,
    labelled_fraction: Annotated[float, typer.Option(help="Share of the training volumes with a label.")] = 0.01,
    labelled_count: Annotated[int | None, typer.Option(help="Their number, instead.")] = None,
    labelled_cases: Annotated[str, typer.Option(help="Their names, with commas, instead.")] = "",
    seed: Annotated[int, typer.Option(help="Of the folds, the validation set and the choice of labels.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> Path:
    """Make liver slices with and without lesion from LiTS volumes.

    Bad cases are listed at the end and the others are done; the exit status is then 1.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    cases = find_cases(data)
    test = fold_cases(cases, fold, seed)
    rest = [case for case in cases if case.name not in test]
    splits = dict.fromkeys(test, "test") | split_patients(rest, validation, 0, seed + fold)
    return prepare_cases(
        cases,
        splits,
        partial(_make, size=size, min_liver=min_liver, min_lesion=min_lesion),
        out,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        seed=seed,
        workers=workers,
        arrange=lambda lists: weigh_by_position(lists["training"], lists["training_absence"]),
        name=f"LiTS liver slices, fold {fold}",
        description="Segment liver lesions; slices of the liver with and without lesion.",
        modality=("CT",),
        labels=("background", "lesion"),
        options={"command": "lits", **options},
    )


if __name__ == "__main__":
    run_command(prepare)
