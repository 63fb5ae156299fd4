"""Every bundle of the checkout in turn, copied away, and a run folder of each; data prepared for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from monai.bundle import ConfigParser
from transeg.bundle.package import build, find_bundles
from transeg.bundle.runs import bundle_name

from benchmarks.squares import write_squares
from tests.bundles.conftest import one_update, other_recipe, read_config
from tests.commands import python_m

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = find_bundles(ROOT / "bundles")
RUNS = {f"run of {bundle.name}": bundle for bundle in BUNDLES}
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
    write_squares(folder, recipe_of(bundle))
    return folder


def change(path, edit):
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


@pytest.fixture(scope="session")
def run_of(tmp_path_factory):
    """Run folders by bundle: one update of its smallest networks, on data of another grid with other names."""
    made = {}

    def get(bundle):
        if bundle not in made:
            root = tmp_path_factory.mktemp("run")
            made[bundle] = root / "2026-01-01_00-00-00"
            write_squares(root / "data", recipe_of(bundle) | other_recipe(recipe_of(bundle)))
            options = one_update(read_config(bundle, "train.json")) | {"val_batch_size": 4}
            options |= {"dataset_dir": root / "data", "run_dir": made[bundle]}
            command = ["run", "training", "--config_file", bundle / "configs" / "train.json"]
            command += [part for key, value in options.items() for part in (f"--{key}", value)]
            python_m("monai.bundle", *command, cwd=ROOT, log=root / "log")
        return made[bundle]

    return get


@pytest.fixture(scope="session")
def run_folder(run_of):
    """What a training run of one update makes."""
    return run_of(ROOT / "bundles" / TRAINED)


@pytest.fixture(scope="session", params=[*BUNDLES, *RUNS], ids=lambda param: getattr(param, "name", param))
def bundle(request, run_of, tmp_path_factory):
    """Copy of each bundle in turn, then a run folder of each."""
    if request.param in RUNS:
        return run_of(RUNS[request.param])
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
