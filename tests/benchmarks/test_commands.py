"""The commands that the benchmarks run, against the configs of the bundles: keys, types, values and arguments."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from monai.bundle import ConfigParser
from transeg.bundle.config import argument_faults, key_faults, value_faults
from transeg.bundle.preflight import read_overrides
from transeg.bundle.runs import WEIGHTS
from transeg.errors import DatalistError

from benchmarks import (
    cardiac_phantoms,
    cardiac_real,
    cluttered_mnist,
    methods_picture,
    scaling,
    thigh_phantoms,
)


class Commands:
    """Stands in for `subprocess.run`: checks what is run, and leaves what a training run does: configs, weights."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, command: Sequence[str], **_: object) -> None:
        arguments = [*map(str, command)]
        if "monai.bundle" not in arguments:  # preparation of data
            return
        name, *options = arguments[arguments.index("run", arguments.index("monai.bundle")) + 1 :]
        overrides = read_overrides(options)
        files = [Path(file) for file in overrides.pop("config_file")]
        parser = ConfigParser()
        parser.read_config([*map(str, files)])
        parser.update(overrides)
        bundle = next(parent.parent for parent in files[0].parents if parent.name == "configs")
        faults = key_faults(parser, bundle) + value_faults(parser.config, bundle) + argument_faults(parser)
        assert not faults, (name, faults)
        assert name in parser.config
        if name == "training":
            self._leave_run(bundle, Path(overrides["run_dir"]))
        self.names.append(name)

    @staticmethod
    def _leave_run(bundle: Path, run_dir: Path) -> None:
        shutil.copytree(bundle / "configs", run_dir / "configs", dirs_exist_ok=True)
        (run_dir / WEIGHTS).parent.mkdir(exist_ok=True)
        (run_dir / WEIGHTS).touch()
        (run_dir / "train_state.pt").touch()


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    found = Commands()
    monkeypatch.setattr(subprocess, "run", found)
    return found


def cardiac(folder: Path) -> None:
    runs = cardiac_phantoms.Runs(folder / "data", folder, 0, cardiac_phantoms.Schedule(2, 1, 1))
    scorer = runs.folder("real only")
    for score in (lambda: runs.dice("ADA", "ct"), lambda: runs.s_score("ours", "mr", scorer)):
        with suppress(FileNotFoundError):
            score()


def mnist(folder: Path) -> None:
    for method, overlays in cluttered_mnist.METHODS.items():
        with suppress(FileNotFoundError):
            cluttered_mnist.train_and_score(method, overlays, 0, folder, folder, 2, 4)


def pictures(folder: Path) -> None:
    for method in methods_picture.BUNDLES:
        draw = methods_picture.segment if method in methods_picture.PHANTOMS else methods_picture.segment_patient
        with suppress(StopIteration):
            draw(method, folder, folder)


def real_heart(folder: Path) -> None:
    for options in cardiac_real.SETTINGS.values():
        cardiac_real.infer([{"image": "ct.nii.gz", "case": "ct", "centre": [0.0, 1.0, 2.0]}], "ct", folder, options)


RUNS: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "cardiac_phantoms": (cardiac, ["training"] * 5 + ["evaluating"] + ["training"] + ["evaluating"]),
    "cardiac_real": (real_heart, ["inferring"] * 4),
    "cluttered_mnist": (mnist, ["training", "evaluating"] * 4),
    "methods_picture": (pictures, ["inferring"] * 4),
    "scaling": (lambda folder: scaling.measure(2, 16, 3, folder), ["training"]),
    "thigh_phantoms": (lambda folder: thigh_phantoms.train_setting(folder, folder, "G .5,1", 0, 2), ["training"]),
}


@pytest.mark.parametrize("name", RUNS)
def test_bundles_take_the_options(name, commands, tmp_path):
    run, expected = RUNS[name]
    with suppress(FileNotFoundError, DatalistError):  # of what the commands would read and write
        run(tmp_path)
    assert commands.names == expected
