"""BraTS brain MR: whole volumes with and without tumour, for PathoGAN in three dimensions.

One item is one patient; made by `BrainVolumes` (transeg.methods.pathogan.volumes).
Layouts of the data as for `data_prep.brats`. BraTS has
no patient without a tumour: add healthy scans of the same sequences as further cases, each with a label file that is 0
throughout. As in `data_prep.brats_slices` the lists for training hold no label unless --labelled asks for it.

At 3.75 mm with volumes of 64 x 64 x 64 2.4 MB on disk for each patient; 1 GB resident for each worker.

    python -m data_prep.brats_volumes --data BRATS --out OUT
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from transeg.methods.pathogan.volumes import BrainVolumes

from data_prep.brats import channels_of, extract_case, find_cases, patterns_of
from data_prep.cases import names_of, prepare_cases, run_command
from data_prep.splits import split_patients


def prepare(
    data: Annotated[Path, typer.Option(help="Folder of the cases, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    channels: Annotated[str, typer.Option(help="Any of flair, t1c, t1, t2; always in this order.")] = "flair,t1c,t1,t2",
    pattern: Annotated[
        list[str] | None, typer.Option(help="File names of a channel, label or mask, such as flair='*Flair*'. Repeat.")
    ] = None,
    pixdim: Annotated[float, typer.Option(help="Voxel size in mm.")] = 3.75,
    size: Annotated[tuple[int, int, int], typer.Option(help="Voxels of a volume.")] = (64, 64, 64),
    min_tumour: Annotated[float, typer.Option(help="Volume in mm^3 that a tumour must exceed.")] = 1000.0,
    zero_background: Annotated[
        bool, typer.Option(help="Keep the background 0 instead of mapping it like the brain.")
    ] = False,
    validation: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.1,
    validation_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    test_cases: Annotated[str, typer.Option(help="Their names, with commas, instead of a draw.")] = "",
    labelled: Annotated[bool, typer.Option(help="Labels for training, for a supervised reference only.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> Path:
    """Make whole volumes with and without tumour, for training without any label.

    Bad cases are listed at the end and the others are done; the exit status is then 1.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    names = channels_of(channels)
    extractor = BrainVolumes(len(names), pixdim, size, min_tumour, zero_background)
    cases = find_cases(data, names, patterns_of(pattern or ()))
    return prepare_cases(
        cases,
        split_patients(cases, validation, test, seed, names_of(validation_cases), names_of(test_cases)),
        partial(extract_case, extractor=extractor),
        out,
        labelled_fraction=1.0,
        labelled_count=None if labelled else 0,
        seed=seed,
        workers=workers,
        name="BraTS volumes" + (", labelled for a supervised reference" if labelled else ""),
        description="Segment brain tumours; brain MR volumes with and without tumour.",
        modality=names,
        labels=("background", "tumour"),
        options={"command": "brats_volumes", **options},
    )


if __name__ == "__main__":
    run_command(prepare)
