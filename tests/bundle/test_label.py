"""What stops `transeg label` before a server is there; tests/label has the server itself."""

import shutil
import socket
from importlib.util import find_spec

import pytest
from transeg.bundle.label import INSTALL
from transeg.cli import app
from typer.testing import CliRunner


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
    assert "bundles/nothing not found" in refusal("--studies", studies, "--bundle", "nothing")
    monkeypatch.chdir(tmp_path)
    assert "no bundles/*_segmentation here" in refusal("--studies", studies)


def test_without_weights_or_monai_label(studies, bundle, tmp_path):
    bare = shutil.copytree(bundle, tmp_path / bundle.name, ignore=shutil.ignore_patterns("model.pt"))
    options = ("--studies", studies, "--port", 8000, "--app", tmp_path / "app", "--bundle")
    assert "models/model.pt: no such file; train first" in refusal(*options, bare)
    if find_spec("monailabel") is None:
        assert INSTALL in refusal(*options, bundle)
