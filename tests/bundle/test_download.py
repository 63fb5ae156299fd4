"""A user's way: download a release from a server, run it where neither the checkout nor transeg is installed."""

import functools
import http.server
import json
import os
import subprocess
import sys
import sysconfig
import threading
import venv
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from transeg.bundle.verify import problems

from tests.commands import python_m

from .conftest import recipe_of

OURS = ("transeg", "data_prep", "__editable__")


@pytest.fixture
def python(tmp_path):
    """Interpreter of a new environment that sees the installed packages but not ours."""
    venv.create(tmp_path / "env", symlinks=True)
    executable = tmp_path / "env" / "bin" / "python"
    ask = [executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    own = Path(subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip())
    for key in ("purelib", "platlib"):
        for entry in Path(sysconfig.get_path(key)).iterdir():
            if not entry.name.startswith(OURS) and not (own / entry.name).exists():
                (own / entry.name).symlink_to(entry)

    def run(*arguments, cwd, check=True):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        command = [executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def address(released):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=released.out)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.skipif(sys.platform == "win32", reason="links the installed packages")
def test_a_download_runs_without_the_checkout(released, bundle, python, address, tmp_path):
    for name in ("transeg", "data_prep"):
        assert "ModuleNotFoundError" in python("-c", f"import {name}", cwd=tmp_path, check=False).stderr

    version = released.zip.stem.partition("_v")[2]
    where = ["--name", released.name, "--version", version, "--bundle_dir", tmp_path / "bundles"]
    source = ["--url", f"{address}/{released.zip.name}", "--progress", False]
    python_m("monai.bundle", "download", *where, *source, cwd=tmp_path, log=tmp_path / "log")
    folder = tmp_path / "bundles" / released.name

    rng, channels = np.random.default_rng(0), len(recipe_of(bundle)["channels"])
    scan = np.zeros((48, 56, 12, channels), np.float32)
    scan[8:40, 8:48, 2:10] = rng.normal(100, 20, (32, 40, 8, channels))
    affine = np.array([[-3, 0.2, 0, 60], [0.2, 3, 0, -70], [0, 0, 4, 5], [0, 0, 0, 1]])
    scans = tmp_path / "scans"
    scans.mkdir()
    nib.save(nib.Nifti1Image(scan.squeeze(), affine), scans / "patient.nii.gz")
    options = ["--dataset_dir", scans, "--output_dir", tmp_path / "masks"]
    python("-m", "monai.bundle", "run", "--config_file", "configs/inference.json", *options, cwd=folder)

    mask = nib.Nifti1Image.from_filename(tmp_path / "masks" / "patient_seg.nii.gz")
    assert mask.shape == scan.shape[:3]
    assert np.allclose(mask.affine, affine, atol=1e-5)
    classes = json.loads((folder / "configs" / "metadata.json").read_text())["network_data_format"]["outputs"]["pred"]
    assert set(np.unique(mask.dataobj)) <= set(range(max(2, classes["num_channels"])))
    assert problems(folder) == []
