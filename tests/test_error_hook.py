"""A run that fails ends with the reason; whoever calls it from Python gets an exception."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from monai.bundle import create_workflow
from transeg import error_hook
from transeg.cli import app
from transeg.error_hook import exit_with_reason
from transeg.errors import BatchError, DataError, UserError, root_cause
from typer.testing import CliRunner

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "bundles/brain_mri_genseg_segmentation/configs"


@pytest.fixture
def scans(tmp_path):
    """A folder with one scan, which cannot be read."""
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "half.nii.gz").write_bytes(b"half")
    return folder


def run(tmp_path, dataset_dir, *then, status=1):
    overlay = tmp_path / "overlay.json"
    stats = {"_target_": "StatsHandler", "iteration_log": False}  # logs every error of the run
    overlay.write_text(json.dumps({"+handlers": [stats], "+initialize": list(then)}))
    files = f"['{CONFIGS / 'inference.json'}','{overlay}']"
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring", "--config_file", files]
    command += ["--bundle_root", CONFIGS.parent, "--dataset_dir", dataset_dir, "--output_dir", tmp_path / "out"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(map(str, command), cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status
    return done.stdout, done.stderr


def test_the_last_line_of_monais_command_names_the_fault(tmp_path):
    _, stderr = run(tmp_path, tmp_path / "nothing")
    assert stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'nothing'}: no such file or folder")
    assert "Traceback" not in stderr


def test_a_batch_ends_with_its_failures(tmp_path, scans):
    stdout, stderr = run(tmp_path, scans)
    head, line = stderr.splitlines()[-2:]
    assert head == "error: 1 of 1 cases failed:"
    assert line.startswith(f"  half: {scans / 'half.nii.gz'}: cannot be read")
    assert "Exception: 1 of 1 cases failed" in stdout
    assert "Traceback" not in stdout + stderr


def test_an_unexpected_error_keeps_its_traceback(tmp_path, scans):
    _, stderr = run(tmp_path, scans, "$__import__('json').loads('{')")
    assert "Traceback" in stderr
    assert "Failed to evaluate" in stderr
    assert stderr.splitlines()[-1].startswith("json.decoder.JSONDecodeError: Expecting property name")


def test_an_interrupt_is_no_traceback(tmp_path, scans):
    stdout, stderr = run(tmp_path, scans, "$(_ for _ in ()).throw(KeyboardInterrupt)", status=-2)
    assert stderr.splitlines()[-1].startswith("interrupted; ")
    assert "Traceback" not in stdout + stderr


def test_a_caller_gets_an_exception(tmp_path, scans):
    hook = sys.excepthook
    for dataset_dir, kind in ((scans, BatchError), (tmp_path / "nothing", DataError)):
        workflow = create_workflow(
            config_file=str(CONFIGS / "inference.json"),
            workflow_type="infer",
            bundle_root=str(CONFIGS.parent),
            dataset_dir=str(dataset_dir),
            output_dir=str(tmp_path / "out"),
            run_id="inferring",
            logging_file=False,
        )
        error_hook.install()
        with pytest.raises(Exception) as error:  # noqa: PT011 (MONAI's wrapper)
            workflow.run()
        assert type(root_cause(error.value)) is kind
    assert sys.excepthook is hook


def test_other_programs_keep_their_hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(logging, "_logRecordFactory", logging.getLogRecordFactory())
    for argv in (["/usr/bin/pytest"], []):  # a program that embeds Python may have none
        monkeypatch.setattr(sys, "argv", argv)
        error_hook.install()
        assert sys.excepthook is sys.__excepthook__
    monkeypatch.setattr(sys, "argv", ["/lib/monai/bundle/__main__.py"])
    error_hook.install()
    assert sys.excepthook is not sys.__excepthook__


@pytest.mark.parametrize("error", [UserError("--size 0: too small"), OSError("--size 0: too small")])
def test_a_command_ends_with_one_sentence(error):
    with pytest.raises(SystemExit, match=r"^error: --size 0: too small$"), exit_with_reason():
        raise error


def test_a_bug_is_not_hidden():
    with pytest.raises(KeyError), exit_with_reason():
        raise KeyError("a")
    with pytest.raises(typer.Exit), exit_with_reason():
        raise typer.Exit(3)


def test_every_command_of_transeg_ends_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["package"], ["package", "nothing"], ["label", "--studies", "nothing"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 1
        assert result.output.startswith("error: ")
        assert result.output.count("\n") == 1
