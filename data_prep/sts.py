"""Soft-tissue sarcoma of the limbs (TCIA, Vallieres et al. 2015, as in the IBSI reference data): T1w MR and CT.

For GenSeg and PathoGAN, the T1w MR: slices with and without tumour. For the cardiac bundle, which learns from two
modalities, MR and CT: volumes around the middle of the scan. Patients with both are in one split.

Layout: <patient>/MR_T1_image.nii.gz with MR_T1_mask.nii.gz, and CT_image.nii.gz with CT_mask.nii.gz if there is a CT.

    python -m data_prep.sts --data STS --out OUT
    python -m data_prep.sts --data STS --out OUT --bundle cardiac_ct_mr_segmentation
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transeg.bundle.package import bundle_root
from transeg.data.recipe import bundle_recipe
from transeg.errors import DataError

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
from data_prep.prepare import Bundle, prepare_scans


def prepare(
    data: Data,
    out: Out,
    bundle: Bundle = "brain_mri_genseg_segmentation",
    validation: Validation = 0.15,
    test: Test = 0.2,
    labelled_fraction: LabelledFraction = 1.0,
    labelled_count: LabelledCount = None,
    labelled_cases: LabelledCases = "",
    image_level: ImageLevel = False,
    seed: Seed = 0,
    workers: Workers = 1,
) -> Path | None:
    """Prepare limbs with sarcoma.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("sts", locals())
    root = bundle_root(bundle)
    cases = scans_below(data, ("image",))
    if "domains" not in bundle_recipe(root):
        cases = [replace(case, domain="") for case in cases if case.domain == "mr"]
        if not cases:
            raise DataError(f"{data}: no <patient>/MR_T1_image.nii.gz found; check --data")
    return prepare_scans(
        cases,
        root,
        out,
        settings={"label_values": {"tumour": [1]}},
        validation=validation,
        test=test,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        image_level=image_level,
        seed=seed,
        workers=workers,
        name="Soft-tissue sarcoma",
        options=options,
    )


if __name__ == "__main__":
    run_command(prepare)
