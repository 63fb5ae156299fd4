"""The overlay of PathoGAN that samples pathologies, on scans of several grids."""

import re

import numpy as np
import pytest
from transeg.errors import root_cause

from .conftest import BUNDLES, load_nifti
from .test_workflows import GRIDS, SHAPE, copy, volumes, workflow  # noqa: F401 (fixtures)

CONFIGS = ["inference.json", "synthesise.json"]


@pytest.fixture
def bundle():
    return BUNDLES / "brain_mri_pathogan_segmentation"


def test_samples_of_every_scan_that_reaches_the_slices(copy, volumes, tmp_path):  # noqa: F811
    """One is too low for them: it is reported, and the samples of the others are written."""
    options = {"output_dir": str(tmp_path / "out"), "samples": 2, "first": 13, "last": 18, "run_id": "inferring"}
    with pytest.raises(RuntimeError) as error:
        workflow(copy, "infer", CONFIGS, volumes, **options).run()
    assert re.search(r"1 of 3 cases failed.*\n.*flipped: .*from 13 to 18 mm", str(root_cause(error.value)))
    parts = [f"sample{k}_{part}" for k in (1, 2) for part in ("image", "seg")]
    names = {f"{name}_{part}.nii.gz" for name in ("anisotropic", "oblique") for part in parts}
    assert {path.name for path in (tmp_path / "out").glob("*.nii.gz")} == names
    for name in ("anisotropic", "oblique"):
        scan = load_nifti(volumes / f"{name}.nii.gz").get_fdata()
        for part in parts:
            file = load_nifti(tmp_path / f"out/{name}_{part}.nii.gz")
            np.testing.assert_allclose(file.affine, GRIDS[name], atol=1e-6)
            assert file.shape == (scan.shape if part.endswith("image") else SHAPE)
        changed = np.flatnonzero((file_of(tmp_path, name, "sample1_image") != scan).any(axis=(0, 1, 3)))
        assert 0 < len(changed) < SHAPE[2]


def file_of(folder, name, part):
    return load_nifti(folder / f"out/{name}_{part}.nii.gz").get_fdata()
