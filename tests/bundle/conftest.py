"""A bundle of the checkout, copied away and given weights if it has none."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from monai.bundle import ConfigParser
from transeg.bundle.package import build
from transeg.networks.spectral import plain_state_dict

NAME = "brain_mri_genseg_segmentation"
BUNDLE = Path(__file__).resolve().parents[2] / "bundles" / NAME


def network(bundle, **options):
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser.update(options)
    return parser.get_parsed_content("network_def")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / NAME
    shutil.copytree(BUNDLE, folder, ignore=shutil.ignore_patterns("models", "data", "eval", "__pycache__"))
    weights = folder / "models" / "model.pt"
    weights.parent.mkdir()
    if (BUNDLE / "models" / "model.pt").is_file():
        shutil.copy(BUNDLE / "models" / "model.pt", weights)
    else:
        torch.manual_seed(0)
        torch.save(plain_state_dict(network(folder)), weights)
    return folder


@pytest.fixture(scope="session")
def released(bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    return SimpleNamespace(name=NAME, out=out, zip=build(bundle, out, "https://example.org/releases"))
