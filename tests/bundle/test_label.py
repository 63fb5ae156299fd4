"""What stops `transeg label` before a server is there; tests/label has the server itself."""

import copy
import json
import shutil
import socket
from importlib.util import find_spec

import pytest
import torch
from monai.bundle import ConfigParser
from transeg.bundle.config import argument_faults, key_faults, value_faults
from transeg.bundle.label import INSTALL, TRAIN, for_label
from transeg.bundle.package import bundle_files
from transeg.bundle.runs import lasting_config
from transeg.cli import app
from typer.testing import CliRunner

from .conftest import ROOT, TRAINED


@pytest.fixture
def studies(tmp_path):
    """A folder of one file."""
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "a.nii.gz").write_bytes(b"")
    return folder


def refusal(*options):
    result = CliRunner().invoke(app, ["label", *map(str, options)])
    assert result.exit_code == 1, result.output
    assert result.output.startswith("error: ")
    return result.output


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_wrong_port(studies, bundle, port):
    assert f"port {port}: choose one from 1 to 65535" in refusal(
        "--studies", studies, "--bundle", bundle, "--port", port
    )


def test_a_port_that_is_taken(studies, bundle):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        refused = refusal("--studies", studies, "--bundle", bundle, "--port", port)
    assert f"port {port} cannot be used" in refused


def test_a_folder_without_studies(studies, bundle, tmp_path):
    (studies / "a.nii.gz").rename(tmp_path / "a.nii.gz")
    assert "no studies (.nii, .nii.gz) in it" in refusal("--studies", studies, "--bundle", bundle)
    assert "no such folder" in refusal("--studies", tmp_path / "none", "--bundle", bundle)


def test_a_bundle_that_is_not_there(studies, tmp_path, monkeypatch):
    assert "no bundle nothing; there are " in refusal("--studies", studies, "--bundle", "nothing")
    monkeypatch.chdir(tmp_path)
    assert "no bundles/*/configs/metadata.json here" in refusal("--studies", studies)


def test_without_weights_or_monai_label(studies, bundle, tmp_path):
    bare = shutil.copytree(bundle, tmp_path / bundle.name, ignore=shutil.ignore_patterns("model.pt"))
    options = ("--studies", studies, "--port", 8000, "--app", tmp_path / "app", "--bundle")
    assert "models/model.pt: no such file; train first" in refusal(*options, bare)
    if find_spec("monailabel") is None:
        assert INSTALL in refusal(*options, bundle)


def test_two_models_of_the_same_name(studies, run_folder):
    refused = refusal("--studies", studies, "--bundle", ROOT / "bundles" / TRAINED, "--bundle", run_folder)
    assert f"{run_folder} would both be the model {TRAINED}; give one, or start another server" in refused


def label_config(bundle):
    files = for_label(bundle_files(bundle))
    return json.loads(files[TRAIN])


def test_training_runs_lie_beside_the_weights_and_replace_them_only_by_better_ones(bundle):
    train = label_config(bundle)
    assert train["promote"] is True
    assert train["run_dir"] == {
        "_target_": "transeg.bundle.runs.new_run_dir",
        "bundle_root": "@bundle_root",
        "runs": "$@bundle_root + '/runs'",
    }


STUDY = {"image": "/studies/p0.nii.gz", "label": "/studies/labels/final/p0.nii.gz"}
LOADER = {"_target_": "CheckpointLoader", "load_path": "/app/model.pt", "load_dict": {"model": "$@network"}}


def set_by_monai_label(config):
    """Values that MONAI Label sets in a config (monailabel/tasks/train/bundle.py)."""
    parser = ConfigParser(copy.deepcopy(config))
    loader = LOADER | {"strict": False}
    parser.update(
        {
            "bundle_root": "/app/monaibundle/model/name",
            "device": torch.device("cpu"),
            "train#trainer#max_epochs": 50,
            "train#dataset#data": [STUDY],
            "validate#dataset#data": [],
            "train#handlers": [loader, *parser["train#handlers"]],
            "tracking": "mlflow",
            "tracking_uri": "",
            "experiment_name": "name",
            "run_name": "run",
        }
    )
    return parser


def test_what_monai_label_sets_in_a_config_is_accepted(bundle):
    parser = set_by_monai_label(label_config(bundle))
    assert key_faults(parser, bundle) + value_faults(parser.config, bundle) + argument_faults(parser) == []


def test_what_monai_label_sets_does_not_last(bundle):
    train = label_config(bundle)
    lasting = lasting_config(set_by_monai_label(train).config, train)
    assert lasting["train"]["dataset"] == train["train"]["dataset"]
    assert lasting["validate"]["dataset"] == train["validate"]["dataset"]
    assert lasting["train"]["handlers"] == train["train"]["handlers"]
    assert lasting["device"] == train["device"]
    assert not lasting["promote"]
    assert "runs" not in lasting["run_dir"]
