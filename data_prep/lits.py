"""LiTS abdominal CT: axial slices of the liver with and without lesions.

Source: Vorontsov et al., section 4.5, and their public code where the paper leaves details open. Intensities are
mean-centred and divided by five standard deviations, both over the liver of the volume (including lesions, which are
unknown at inference); 0 outside the liver. Slices with more than 6 % liver are cropped to the bounding box of the liver
in that slice and resized to 256 x 256 pixels. Presence: a lesion at least 6 pixels wide along X or Y, in pixels of the
scan. Absence: no lesion. All other slices are dropped. Every slice is listed once; absence slices of validation and
test patients stay in their split. Training absence items carry a sampling weight, so that their axial positions
(relative to the range of kept liver slices) follow the 20-bin histogram of the presence slices. Four folds by patient;
10 % of the patients outside the test fold are used for validation.

All of LiTS (131 scans, about 17,500 slices) takes 3.4 GB on disk. Memory depends on the longest scan: about 14 bytes
per voxel, 4 GB for 512 x 512 x 1000, in each worker.

    python -m data_prep.lits --data LITS --out OUT --fold 0
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from monai.transforms import Compose, Orientationd
from scipy import ndimage
from transeg.data.slices import CaseSlices
from transeg.data.table import Case
from transeg.errors import UserError, VolumeError
from transeg.transforms.load import LoadVolumed

from data_prep.cases import prepare_cases, run_command, scans_below
from data_prep.options import (
    Data,
    LabelledCases,
    LabelledCount,
    LabelledFraction,
    Out,
    Seed,
    Validation,
    Workers,
    names_of,
    record_options,
)
from data_prep.splits import split_patients

CHANNELS = ("CT",)
LESION = 2
FOLDS = 4
BINS = 20
NUM_STD = 5.0  # standard deviations that become 1


def find_livers(folder: Path) -> list[Case]:
    """Scans below a folder, see `scans_below`; one without a segmentation, which locates the liver, has a `problem`."""
    cases = scans_below(folder, CHANNELS)
    fault = "{}: no {} found; add it or remove the volume"
    return [
        case
        if case.label or case.problem
        else replace(case, problem=fault.format(case.name, case.name.replace("volume", "segmentation")))
        for case in cases
    ]


def liver_slices(
    image: np.ndarray, label: np.ndarray, size: int = 256, min_liver: float = 0.06, min_lesion: int = 6
) -> CaseSlices:
    """Normalise a volume over its liver and keep the slices that belong to a domain.

    Args:
        image: (X, Y, Z).
        label: (X, Y, Z); 0 background, 1 liver, 2 lesion.
        size: edge length of the resized slices in pixels.
        min_liver: minimum liver fraction of a slice's area, exclusive.
        min_lesion: minimum width of a lesion along X or Y in pixels.

    Returns:
        Slices (N, 1, size, size) with "z" (axial index) and "position" in (0, 1) between the lowest and the highest
        slice with enough liver.

    Raises:
        VolumeError: no liver, or constant intensity in the liver.
    """
    liver = label > 0
    if not liver.any():
        raise VolumeError("no liver (the segmentation is 0 everywhere); replace the segmentation")
    voxels = image[liver].astype(np.float64)
    mean, scale = voxels.mean(), NUM_STD * voxels.std()
    if scale <= 1e-6 * abs(mean):
        raise VolumeError("the liver has constant intensity; replace the volume")
    with_liver = np.flatnonzero(liver.any(axis=(0, 1)))
    large = np.flatnonzero(liver.mean(axis=(0, 1)) > min_liver)
    images, labels, fields = [], [], []
    dropped = {"little liver": len(with_liver) - len(large), "small lesion": 0}
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
    """Width in pixels, along X or Y, of the widest connected lesion of a slice (X, Y)."""
    regions = ndimage.find_objects(ndimage.label(lesion, structure=np.ones((3, 3)))[0])
    return max((side.stop - side.start for region in regions for side in region), default=0)


def _resized(part: np.ndarray, size: int, mode: str) -> np.ndarray:
    tensor = torch.from_numpy(part.astype(np.float32))[None, None]
    return F.interpolate(tensor, (size, size), mode=mode)[0, 0].numpy()


def weigh_by_position(presence: list[dict], absence: list[dict]) -> None:
    """Weight absence items so that sampled positions follow the 20-bin histogram of the presence positions.

    The weight is the fraction of presence items in the bin over the number of absence items in it, so that the sampled
    positions follow the histogram wherever a bin has an absence item. (The authors' code omits the division.) If no bin
    is shared, the items are left unweighted, i.e. equally likely.
    """
    bins = [np.minimum([int(item["position"] * BINS) for item in items], BINS - 1) for items in (presence, absence)]
    wanted, present = (np.bincount(np.asarray(b, dtype=int), minlength=BINS) for b in bins)
    weights = wanted / len(presence) / np.maximum(present, 1)
    if weights[bins[1]].sum() > 0:
        for item, b in zip(absence, bins[1], strict=True):
            item["weight"] = round(float(weights[b]), 8)


def _extract(item: Mapping[str, Any], size: int, min_liver: float, min_lesion: int) -> CaseSlices:
    load = Compose(
        [
            LoadVolumed("image"),
            LoadVolumed("label", allowed_labels=(0, 1, LESION), like="image"),
            Orientationd(("image", "label"), axcodes="RAS", labels=None),
        ]
    )
    volumes = load(dict(item))
    try:
        return liver_slices(volumes["image"][0].numpy(), volumes["label"][0].numpy(), size, min_liver, min_lesion)
    except VolumeError as error:
        raise VolumeError(f"{item['label']}: {error}") from error


def fold_cases(cases: list[Case], fold: int, seed: int) -> list[str]:
    """Names of the test cases of a fold: a quarter of the patients; the folds are disjoint.

    Raises:
        ValueError: an unknown fold, or fewer cases than folds.
    """
    if not 0 <= fold < FOLDS:
        raise UserError(f"--fold {fold}: choose from 0 to {FOLDS - 1}")
    if len(cases) < FOLDS:
        raise UserError(f"{len(cases)} volumes are too few for {FOLDS} folds; add volumes")
    names = sorted(case.name for case in cases)
    return np.random.default_rng((seed, 2)).permutation(names)[fold::FOLDS].tolist()


def prepare(
    data: Data,
    out: Out,
    fold: Annotated[int, typer.Option(help="Fold used as the test set, 0 to 3.")] = 0,
    size: Annotated[int, typer.Option(help="Edge length of the resized slices in pixels.")] = 256,
    min_liver: Annotated[float, typer.Option(help="Minimum liver fraction of a slice.")] = 0.06,
    min_lesion: Annotated[int, typer.Option(help="Minimum lesion width in pixels.")] = 6,
    validation: Validation = 0.1,
    labelled_fraction: LabelledFraction = 0.01,
    labelled_count: LabelledCount = None,
    labelled_cases: LabelledCases = "",
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare liver slices with and without lesions from LiTS volumes.

    Validation patients are drawn from those outside the test fold. Failed cases are listed at the end; all others are
    processed. Exit status 1 if any failed.
    """
    options = record_options("lits", locals())
    cases = find_livers(data)
    test = fold_cases(cases, fold, seed)
    rest = [case for case in cases if case.name not in test]
    splits = dict.fromkeys(test, "test") | split_patients(rest, validation, 0, seed + fold)
    return prepare_cases(
        cases,
        splits,
        partial(_extract, size=size, min_liver=min_liver, min_lesion=min_lesion),
        out,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        seed=seed,
        workers=workers,
        arrange=lambda lists: weigh_by_position(lists["training"], lists["training_absence"]),
        name=f"LiTS liver slices, fold {fold}",
        description="Liver lesion segmentation; CT slices of the liver with and without lesions.",
        recipe={
            "method": "genseg",
            "channels": CHANNELS,
            "image_size": (size, size),
            "pixdim": None,  # the liver is stretched to the slice
            "halves": False,
            "labels": ("background", "lesion"),
            "label_values": {"lesion": (LESION,), "background": (1,)},
            "min_liver": min_liver,
            "min_lesion": min_lesion,
            "num_std": NUM_STD,
            "zero_background": True,
        },
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
