"""Every command of the README and of the bundles' cards is typed, on small phantoms, and leaves the checkout as it is.

The commands of the README run in a copy of the checkout, those of a card in its bundle's folder there, in their order.
What they find beside them stands for the reader's data. Options that only make them quicker are added at their end.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import pytest
from monai.bundle import ConfigParser
from transeg.bundle.config import argument_faults, key_faults, value_faults
from transeg.bundle.package import find_bundles
from transeg.bundle.preflight import read_overrides
from transeg.bundle.runs import method_of
from transeg.method import find_method

from tests.bundle.conftest import LEFT, ROOT, recipe_of
from tests.commands import python_m
from tests.label.dialogue import DRAW, SEQUENCES

BUNDLES = find_bundles(ROOT / "bundles")
DOCUMENTS = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").glob("*.md")) if "```bash" in path.read_text()),
    *(bundle / "docs/README.md" for bundle in BUNDLES),
]
TOOLS = ("pip", "python", "python3", "scontrol", "srun", "torchrun", "transeg")
INSTALLS = "installs into the environment"
NOT_RUN = {
    ("python3", "-m", "venv"): INSTALLS,
    ("pip", "install"): INSTALLS,
    ("python", "-m", "pytest"): "this suite",
    ("transeg", "demo"): "tests/test_demo.py",
    ("transeg", "label"): "tests/label",
    ("torchrun",): "needs several GPUs; tests/bundles/test_ranks.py. Its options are checked here",
    ("scontrol",): "is of Slurm",
    ("srun",): "is of Slurm. Its options are checked here",
}
if importlib.util.find_spec("onnxscript") is None:
    NOT_RUN |= {("python", "-m", "monai.bundle", "onnx_export"): "needs the extra 'onnx'"}

COARSE = {2: ("2", "128", "128"), 3: ("8", "32", "32", "32")}  # voxel size and size, for the grids of the papers
PHANTOMS = {
    "brain": ("--cases", "5", "--shape", "60,60,39", "--spacing", "4", "--difficulty", "0"),
    "heart": ("--cases", "4", "--shape", "48,48,40", "--spacing", "4"),
    "thigh": ("--cases", "12", "--shape", "96,48,8", "--spacing", "4,4,7"),
    "knee": ("--cases", "8", "--shape", "64,64,10", "--spacing", "1.75,1.75,6"),
}
FEW = {  # by the end of a module's name
    "": ("--validation", "1", "--test", "1", "--workers", "1"),
    "thigh": ("--labelled-count", "2"),
}
SHORT = {"epochs": 1, "batches_per_epoch": 1, "batch_size": 1, "labelled_per_batch": 1, "val_batch_size": 4}
NARROW = {"width": 2, "segmenter_width": 2, "classifier_width": 2, "discriminator_width": 2, "blocks": 1, "code": 8}


# What stands in a document


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Folder of programs that only note how they were called."""
    folder = tmp_path / "tools"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).write_text(f"#!/bin/bash\n{{ printf '%s\\0' {name} \"$@\"; echo; }} >> '{folder / 'calls'}'\n")
        (folder / name).chmod(0o755)
    return folder


def commands(document: Path, tools: Path) -> list[list[str]]:
    """Commands of all bash blocks, as bash reads them; it fails at any other program."""
    script = "\n".join(re.findall(r"^```bash\n(.*?)^```", document.read_text(), flags=re.MULTILINE | re.DOTALL))
    here = tools.parent / "typed"
    (here / ".venv").mkdir(parents=True)
    (here / ".venv" / "bin").symlink_to(tools)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-e", "-c", script], cwd=here, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line.rstrip("\n").split("\0")[:-1] for line in (tools / "calls").read_text().splitlines()]


# What stands for the reader's data


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of phantoms by kind, in the layout of the public data."""
    root = tmp_path_factory.mktemp("raw")
    for kind, options in PHANTOMS.items():
        python_m("data_prep.phantoms", kind, "--out", root / kind, *options, cwd=root, log=root / "log")
    return root


def write_scans(folder: Path, kind: str) -> None:
    """Two scans of patients, the first of them with a lesion; a file for each sequence, named after it."""
    folder.mkdir()
    for k in range(2):
        study = DRAW[kind](k)
        channels = study.image[..., None] if study.image.ndim == 3 else study.image
        for number in range(channels.shape[3]):
            name = f"patient{k}_{SEQUENCES[number]}" if channels.shape[3] > 1 else f"patient{k}"
            nib.save(nib.Nifti1Image(channels[..., number], study.affine), folder / f"{name}.nii.gz")


def lay_out(here: Path, bundle: Path, raw: Path, words: set[str], *options: str) -> None:
    """What the words of a document stand for, of those that no command of it makes.

    Args:
        here: working directory.
        bundle: that the document is about.
        raw: phantoms by kind.
        words: of the document.
        options: of the preparation.
    """
    method = find_method(method_of(bundle))
    prepare, *own = method.prepare
    kind = str(method.phantoms)

    def prepared(name: str, *more: str) -> None:
        made = ("--data", raw / kind, "--out", here / name, *own, *few(prepare), *options, *more)
        python_m(prepare, *made, cwd=here, log=here / "log")

    for name in words & {"BRATS", "MMWHS", "THIGH_SCANS", "my_patients"}:
        (here / name).symlink_to(raw / kind)
    for name in words & {"SCANS", "MR_SCANS", "my_scans"}:
        write_scans(here / name, kind)
    for name in words & {"PREPARED", "more"}:
        prepared(name)
    for name in words & {"prepared_at_1mm"}:
        pixdim, *size = COARSE[2]
        prepared(name, "--pixdim", pixdim, "--size", *size)
    for name in words & {"BUNDLE_OR_RUN"}:
        (here / name).symlink_to(bundle)


def channels_of(bundle: Path) -> tuple[str, ...]:
    """Option of a preparation of phantoms that makes them fit the released weights, where there is a choice."""
    channels = recipe_of(bundle)["channels"]
    return ("--channels", ",".join(channels)) if {*channels} <= {*SEQUENCES} else ()


# How a command is run


def config_of(options: Sequence[str], here: Path) -> tuple[ConfigParser, Path]:
    """What a command of `monai.bundle run` would run, and its bundle."""
    overrides = read_overrides(options)
    files = overrides.pop("config_file")
    files = [here / file for file in ([files] if isinstance(files, str) else files)]
    parser = ConfigParser()
    parser.read_config([*map(str, files)])
    parser.update(overrides)
    return parser, next(parent.parent for parent in files[0].parents if parent.name == "configs")


def is_not_run(command: Sequence[str]) -> bool:
    """Whether a command is beyond this environment, see `NOT_RUN`, or tested elsewhere."""
    if "--tracking" in command and importlib.util.find_spec("mlflow") is None:  # bundles/test_tracking.py
        return True
    return any(command[: len(start)] == [*start] for start in NOT_RUN)


def check_options(command: Sequence[str], here: Path) -> None:
    """Of a command that is not run."""
    name, *options = command[command.index("run", command.index("monai.bundle")) + 1 :]
    parser, bundle = config_of(options, here)
    assert name in parser
    assert not key_faults(parser, bundle) + value_faults(parser.config, bundle) + argument_faults(parser)


def few(module: str) -> list[str]:
    """Options of a preparation that leave few patients to validate, test and learn from."""
    if module in ("data_prep.table", "data_prep.prepare"):
        return []
    return [option for end, options in FEW.items() if module.endswith(end) for option in options]


def quicker(command: Sequence[str], here: Path) -> list[str]:
    """The command with options that shrink what it does; the grids of the papers become coarse."""
    module, *arguments = command
    coarse = "_at_1" in " ".join(arguments).lower()
    if module == "data_prep.phantoms":
        arguments += PHANTOMS[arguments[0]]
    elif module.startswith("data_prep."):
        pixdim, *size = COARSE[3 if module == "data_prep.mmwhs" else 2]
        arguments += [*few(module), *(("--pixdim", pixdim, "--size", *size) if coarse else ())]
    elif arguments[:2] == ["run", "learning"]:
        arguments += ["--learner#grid", "[{}]"]
    elif arguments[:2] == ["run", "training"]:
        config = config_of(arguments[2:], here)[0]
        changes = {key: value for key, value in SHORT.items() if key in config and config[key] != 0}
        if coarse:
            sizes = ("image_size", "crop_size")
            pixdim, *size = COARSE[len(config["image_size"])]
            changes |= {key: value for key, value in NARROW.items() if key in config}
            changes |= {key: f"[{','.join(size)}]" for key in sizes if key in config}
            changes["pixdim"] = f"[{pixdim},{pixdim},-1]" if isinstance(config["pixdim"], list) else pixdim
        if "--resume" in arguments:
            changes["epochs"] = 2
        arguments += [part for key, value in changes.items() for part in (f"--{key}", str(value))]
    return [module, *arguments]


def digests(root: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_runs_and_leaves_the_checkout(document, tools, raw, tmp_path):
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "bundles", checkout / "bundles", ignore=LEFT)
    before = digests(checkout)
    bundle = checkout / document.relative_to(ROOT).parents[1] if document.parent.parent in BUNDLES else None
    here = bundle or checkout
    typed = commands(document, tools)
    assert typed
    words = {part for line in typed for part in line}
    lay_out(
        here, bundle or checkout / BUNDLES[0].relative_to(ROOT), raw, words, *(channels_of(bundle) if bundle else ())
    )
    for number, command in enumerate(typed):
        started = time.monotonic()
        if is_not_run(command):
            if "monai.bundle" in command and "run" in command:
                check_options(command, here)
            continue
        if command[0] == "python":
            assert command[1] == "-m", command
        module = [*command[2:]] if command[0] == "python" else ["transeg.cli", *command[1:]]
        module, *arguments = quicker(module, here)
        python_m(module, *arguments, cwd=here, log=tmp_path / f"{number}.log")
        print(f"{time.monotonic() - started:.1f} s", *command)
    after = digests(checkout)
    assert {name: after.get(name) for name in before} == before
