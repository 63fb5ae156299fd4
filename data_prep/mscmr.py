"""Short-axis heart MR of MS-CMRSeg 2019: two contrasts, balanced SSFP (C0) and late gadolinium enhancement (LGE).

Labels: myocardium (200), left ventricle (500) and right ventricle (600). Both scans of a patient are in the same split,
so that no test patient has been seen in the other contrast; training pairs volumes regardless of the patient.
--unlabelled-domain lge learns from labels of C0 only, as in the challenge; the labels for testing are kept.

Slices are 5 to 13 mm thick and oblique, so volumes keep the axes of their files and their own spacing across slices.
Slices are resized to the size of the recipe, since the voxel size of some copies of this set does not hold after they
were cropped and resized; --voxel 1.5 1.5 -1 resamples them in mm instead. Volumes are cropped around their middle.

Layout: patient10_C0.nii.gz with patient10_C0_manual.nii.gz, patient10_LGE.nii.gz likewise, in any folder. A volume of
the default size takes 0.4 MB on disk (the 45 patients of the set about 40 MB).

    python -m data_prep.mscmr --data MSCMR --out OUT
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from transeg.data.recipe import Recipe
from transeg.data.table import Case

from data_prep.cases import run_command
from data_prep.domain_volumes import prepare_domains, scans_of_domains, split_by_patient
from data_prep.options import (
    Data,
    Labels,
    Out,
    Seed,
    Test,
    Validation,
    VolumeSize,
    Workers,
    assign_values,
    record_options,
)

RECIPE: Recipe = {
    "method": "cardiac",
    "channels": ["image"],
    "domains": {name: {"scale": "percentiles", "range": [0.5, 99.5]} for name in ("c0", "lge")},
    "axis": "native",
    "crop": "centre",
    "labels": ["background", "Myo", "LV", "RV"],
    "label_values": {"Myo": [200], "LV": [500], "RV": [600]},
}


def find_scans(folder: Path) -> list[Case]:
    """Scans of both contrasts, which are their domains, see `find_cases`.

    Raises:
        DataError: no scan of a contrast.
    """
    missing = "no file ..._{}.nii.gz found; check --data"
    return scans_of_domains(folder, RECIPE, lambda contrast: missing.format(contrast.upper()))


def prepare(
    data: Data,
    out: Out,
    labels: Labels = None,
    size: VolumeSize = (96, 96, 16),
    voxel: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Voxel size in mm: X Y Z, -1 as in the file (default: slices are resized)."),
    ] = None,
    validation: Validation = 0.15,
    test: Test = 0.3,
    unlabelled_domain: Annotated[
        Literal["c0", "lge"] | None,
        typer.Option(help="Hide the labels of this domain, except those for testing."),
    ] = None,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path:
    """Prepare short-axis volumes of two contrasts.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("mscmr", locals())
    cases = find_scans(data)
    return prepare_domains(
        cases,
        split_by_patient(cases, validation, test, seed),
        out,
        RECIPE | {"image_size": size, "pixdim": voxel, "label_values": assign_values(RECIPE["label_values"], labels)},
        unlabelled_domain=unlabelled_domain,
        name="Short-axis heart MR",
        description="Segmentation of myocardium and ventricles; short-axis MR of two contrasts.",
        options=options,
        seed=seed,
        workers=workers,
    )


if __name__ == "__main__":
    run_command(prepare)
