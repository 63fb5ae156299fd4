import os
import subprocess
import sys
from pathlib import Path

import pytest
from transeg import error_hook
from transeg.error_hook import root_cause

ROOT = Path(__file__).parents[1]


def test_the_last_line_of_monais_command_names_the_fault(tmp_path):
    config = ROOT / "bundles/brain_mri_genseg_segmentation/configs/inference.json"
    command = [sys.executable, "-m", "monai.bundle", "run", "inferring", "--config_file", str(config)]
    command += ["--dataset_dir", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "out")]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"FileNotFoundError: {tmp_path / 'nothing'}: no such folder")


def fail_as_monai_does():
    try:
        try:
            raise OSError("low")
        except OSError as error:
            raise ValueError("ours") from error
    except ValueError as error:
        exec("raise RuntimeError('wrapped') from error", {"__name__": "monai.bundle.x", "error": error})


def test_only_the_wrappers_of_monai_are_looked_through():
    with pytest.raises(RuntimeError, match="wrapped") as caught:
        fail_as_monai_does()
    assert str(root_cause(caught.value)) == "ours"
    assert str(root_cause(caught.value.__cause__)) == "ours"


def test_other_programs_keep_their_hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    for argv in (["/usr/bin/pytest"], []):  # a program that embeds Python may have none
        monkeypatch.setattr(sys, "argv", argv)
        error_hook.install()
        assert sys.excepthook is sys.__excepthook__
    monkeypatch.setattr(sys, "argv", ["/lib/monai/bundle/__main__.py"])
    error_hook.install()
    assert sys.excepthook is not sys.__excepthook__
