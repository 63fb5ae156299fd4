"""Every bundle of the checkout in turn, copied away, and a run folder; data prepared for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from monai.bundle import ConfigParser
from transeg.bundle.package import build, find_bundles
from transeg.bundle.runs import bundle_name

from tests.bundles.conftest import write_prepared

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = find_bundles(ROOT / "bundles")
TRAINED = "thigh_mri_muscle_segmentation"
OVERLAID = "brain_mri_genseg_segmentation"  # has the most overlays
LEFT = shutil.ignore_patterns("data", "eval", "__pycache__", "previous", "train_state.pt")


def network(bundle, **options):
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser.update(options)
    return parser.get_parsed_content("network_def")


def recipe_of(bundle):
    return json.loads((bundle / "configs" / "inference.json").read_text())["recipe"]


def prepare(folder, bundle):
    """Small prepared data for a bundle."""
    write_prepared(folder, recipe_of(bundle))
    return folder


def change(path, edit):
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """What a training run of one update makes."""
    root, bundle = tmp_path_factory.mktemp("run"), ROOT / "bundles" / TRAINED
    options = {"dataset_dir": prepare(root / "data", bundle), "run_dir": root / "2026-01-01_00-00-00"}
    options |= {"epochs": 1, "batches_per_epoch": 1, "batch_size": 2, "val_batch_size": 4}
    command = [sys.executable, "-m", "monai.bundle", "run", "training"]
    command += ["--config_file", str(bundle / "configs" / "train.json")]
    command += [part for key, value in options.items() for part in (f"--{key}", str(value))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return options["run_dir"]


@pytest.fixture(scope="session", params=[*BUNDLES, "run folder"], ids=lambda path: Path(path).name)
def bundle(request, tmp_path_factory):
    """Copy of each bundle in turn, then a run folder."""
    if request.param == "run folder":
        return request.getfixturevalue("run_folder")
    return shutil.copytree(request.param, tmp_path_factory.mktemp("bundles") / request.param.name, ignore=LEFT)


@pytest.fixture
def copy(bundle, tmp_path):
    """Copy of the bundle to change."""
    return shutil.copytree(bundle, tmp_path / bundle.name)


@pytest.fixture
def genseg(tmp_path):
    """Copy of one bundle to change, for what is the same in all."""
    return shutil.copytree(ROOT / "bundles" / OVERLAID, tmp_path / OVERLAID, ignore=LEFT)


@pytest.fixture(scope="session")
def data(bundle, tmp_path_factory):
    """Data prepared for the bundle."""
    return prepare(tmp_path_factory.mktemp("data"), bundle)


@pytest.fixture(scope="session")
def released(bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    return SimpleNamespace(name=bundle_name(bundle), out=out, zip=build(bundle, out, "https://example.org/releases"))
