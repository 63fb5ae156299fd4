"""TCGA-LGG brain MR as published on Kaggle: slices with and without a glioma, for GenSeg or PathoGAN.

Buda et al. 2019: FLAIR slices of lower-grade glioma with masks, and the sequences before and after contrast where a
patient has them. Layout: kaggle_3m/<patient>_<date>/<...>_7.tif (RGB: before contrast, FLAIR, after), <...>_7_mask.tif.
The skull is on, and the voxel size is not in the files: pixels are kept, and --spacing scales volumes and tells which
voxel size later scans are brought to.

--image-level hides the masks of training and validation patients and only tells which of their slices show the tumour.

    python -m data_prep.lgg --data kaggle_3m --out OUT
    python -m data_prep.lgg --data kaggle_3m --out OUT --bundle brain_mri_pathogan_segmentation --image-level
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from transeg.bundle.package import bundle_root

from data_prep.cases import run_command, scans_below
from data_prep.options import (
    Data,
    ImageLevel,
    LabelledCases,
    LabelledCount,
    LabelledFraction,
    Out,
    Seed,
    Test,
    Validation,
    Workers,
    names_of,
    record_options,
)
from data_prep.prepare import Bundle, Size, parse_size, prepare_scans

CHANNELS = ("t1", "flair", "t1c")
VALUES = {"tumour": [1, 255]}


def prepare(
    data: Data,
    out: Out,
    bundle: Bundle = "brain_mri_genseg_segmentation",
    channels: Annotated[
        str, typer.Option(help="Comma-separated: t1, flair, t1c (the sequences of the RGB image).")
    ] = ",".join(CHANNELS),
    spacing: Annotated[tuple[float, float, float], typer.Option(help="Voxel size in mm: X Y Z (not in the files).")] = (
        0.94,
        0.94,
        6.0,
    ),
    size: Size = "",
    halves: Annotated[bool, typer.Option(help="Cut slices at mid-width, for GenSeg as for BraTS.")] = False,
    validation: Validation = 0.1,
    test: Test = 0.2,
    labelled_fraction: LabelledFraction = 1.0,
    labelled_count: LabelledCount = None,
    labelled_cases: LabelledCases = "",
    image_level: ImageLevel = False,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path | None:
    """Prepare slices with and without a glioma.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("lgg", locals())
    cases = [replace(case, spacing=spacing) for case in scans_below(data, CHANNELS)]
    return prepare_scans(
        cases,
        bundle_root(bundle),
        out,
        channels=names_of(channels),
        settings={
            "axis": "axial",
            "pixdim": [*spacing[:2], -1.0],
            "image_size": parse_size(size),
            "foreground": "threshold",
            "halves": halves,
            "label_values": VALUES,
        },
        validation=validation,
        test=test,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        image_level=image_level,
        seed=seed,
        workers=workers,
        name="TCGA-LGG",
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
