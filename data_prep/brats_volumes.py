"""BraTS brain MR: whole volumes with and without tumour, for PathoGAN in 3D.

One item per patient, made by `ImageLevelVolumes` (transeg.methods.pathogan.volumes). Layouts as for `data_prep.brats`.
BraTS has no patient without a tumour: add healthy scans of the same sequences as further cases, each with an all-zero
label file. As with `data_prep.brats_slices`, the training lists contain no masks unless --labelled is given.

At 3.75 mm with volumes of 64 x 64 x 64, a patient takes 2.4 MB on disk; 1 GB of memory per worker.

    python -m data_prep.brats_volumes --data BRATS --out OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from transeg.methods.pathogan.volumes import ImageLevelVolumes

from data_prep.brats import channels_of, find_brains, tumour_values
from data_prep.cases import prepare_cases, run_command
from data_prep.options import (
    Channels,
    Data,
    Labelled,
    Labels,
    Out,
    Patterns,
    Pixdim,
    Seed,
    Test,
    TestCases,
    Validation,
    ValidationCases,
    VolumeSize,
    Workers,
    ZeroBackground,
    names_of,
    record_options,
)
from data_prep.splits import split_labelled


def prepare(
    data: Data,
    out: Out,
    channels: Channels = "flair,t1c,t1,t2",
    pattern: Patterns = None,
    labels: Labels = None,
    pixdim: Pixdim = 3.75,
    size: VolumeSize = (64, 64, 64),
    min_tumour: Annotated[float, typer.Option(help="Minimum tumour volume in mm^3.")] = 1000.0,
    zero_background: ZeroBackground = False,
    validation: Validation = 0.1,
    test: Test = 0.1,
    validation_cases: ValidationCases = "",
    test_cases: TestCases = "",
    labelled: Labelled = False,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare brain volumes with and without tumour, for training from volume-level labels.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("brats_volumes", locals())
    names = channels_of(channels)
    cases = find_brains(data, names, pattern)
    recipe = {
        "method": "pathogan",
        "channels": names,
        "image_size": size,
        "pixdim": pixdim,
        "labels": ("background", "tumour"),
        "label_values": tumour_values(cases, labels),
        "min_lesion": min_tumour,
        "num_std": 3.0,
        "zero_background": zero_background,
    }
    return prepare_cases(
        cases,
        split_labelled(cases, validation, test, seed, names_of(validation_cases), names_of(test_cases)),
        ImageLevelVolumes(recipe),
        out,
        labelled_fraction=1.0,
        labelled_count=None if labelled else 0,
        seed=seed,
        workers=workers,
        name="BraTS volumes" + (", labelled for a supervised reference" if labelled else ""),
        description="Brain tumour segmentation; brain MR volumes with and without tumour.",
        recipe=recipe,
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
