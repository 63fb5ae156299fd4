"""Every item of the GPU queue runs to its end at a small size, and slices travel unchanged."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from benchmarks.gpu.pack import pack, unpack
from benchmarks.results import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu" / "next.sh"
ITEMS = re.search(r"for item in \$\{1:-([\w ]+)\}", SCRIPT.read_text())[1].split()


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Six heads in the layout of TCGA-LGG, each with a tumour in one half, and one without its first sequence."""
    folder, rng = tmp_path_factory.mktemp("kaggle_3m"), np.random.default_rng(0)
    y, x = np.mgrid[:128, :128]
    head = (y - 64) ** 2 + (x - 64) ** 2 < 56**2
    for k in range(7):
        name = f"TCGA_CS_{4940 + k}_19970101"
        (folder / name).mkdir()
        for z in range(1, 7):
            tumour = ((y - 64) ** 2 + (x - (40 if k % 2 else 88)) ** 2 < 12**2) & (2 < z < 6)
            levels = np.array([80, 100 if k == 6 else 90, 100]) + np.array([0, 90, 20]) * tumour[..., None]
            image = (head[..., None] * (levels + rng.normal(0, 5, (128, 128, 3)))).clip(0, 255).astype(np.uint8)
            if k == 6:
                image[..., 0] = image[..., 1]
            Image.fromarray(image).save(folder / name / f"{name}_{z}.tif")
            Image.fromarray((255 * tumour).astype(np.uint8)).save(folder / name / f"{name}_{z}_mask.tif")
    return folder


def write_hearts(folder):
    """Eight patients in the layout of MS-CMRSeg: three regions, brighter or darker in the other contrast."""
    rng = np.random.default_rng(0)
    place = np.indices((48, 48, 10)) - np.array([24, 24, 5]).reshape(3, 1, 1, 1)
    for contrast, levels in {"C0": (100, 300, 250), "LGE": (50, 400, 380)}.items():
        (folder / contrast).mkdir(parents=True)
        for patient in range(1, 9):
            far = np.hypot(place[0] - patient % 3, place[1])
            label = np.select([far < 7, far < 10, (far < 14) & (place[0] < 0)], (500, 200, 600), 0).astype(np.int16)
            image = np.select([label == value for value in (200, 500, 600)], levels, 20) + rng.normal(0, 5, label.shape)
            for name, volume in {contrast: image.astype(np.float32), f"{contrast}_manual": label}.items():
                nib.save(
                    nib.Nifti1Image(volume, np.diag([1.5, 1.5, 8, 1])),
                    folder / contrast / f"patient{patient}_{name}.nii.gz",
                )


def test_slices_travel_unchanged(patients, tmp_path):
    pack(patients, tmp_path / "slices.zip")
    unpack(tmp_path / "slices.zip", tmp_path / "slices", workers=2)
    found = sorted((tmp_path / "slices").rglob("*.tif"))
    assert len(found) == 6 * 12  # without the patient whose sequence was replaced
    for path in found:
        before = Image.open(patients / path.relative_to(tmp_path / "slices"))
        assert np.array_equal(np.asarray(Image.open(path)), np.asarray(before))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("item", ITEMS)
def test_every_item_runs_to_its_end(item, patients, tmp_path):
    pack(patients, tmp_path / "lgg.zip")
    write_hearts(tmp_path / "mscmr")
    environment = {"SMALL": "1", "SCRATCH": tmp_path / "scratch", "CARRIED": tmp_path, "RESULTS": tmp_path / "results"}
    environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "COMMIT": "a copy", "WHEELS": "none"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    settings = {**os.environ, **{key: str(value) for key, value in environment.items()}}
    run = subprocess.run(["bash", str(SCRIPT), item], env=settings, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    result = json.loads((tmp_path / "results" / f"gpu_{item}.json").read_text())
    assert result["commit"] == "a copy"
    assert "error" not in json.dumps(result["figures"])
