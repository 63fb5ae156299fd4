"""The bundles that there are, and small prepared data for the tests of their configs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import pytest
from monai.bundle import ConfigParser

from benchmarks.squares import SMALLEST, write_squares

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
CPU = "$torch.device('cpu')"
SHORT = {"epochs": 1, "batches_per_epoch": 1, "batch_size": 1, "labelled_per_batch": 1}
FILES = (
    "LICENSE",
    "configs/evaluate.json",
    "configs/inference.json",
    "configs/logging.conf",
    "configs/metadata.json",
    "configs/multi_gpu_train.json",
    "configs/tracking.json",
    "configs/train.json",
    "docs/README.md",
    "docs/data_license.txt",
    "models/model.pt",
)


def check_whole(bundle: Path) -> None:
    """Raise AssertionError, naming what is missing, unless the folder has every file that a bundle needs."""
    missing = [name for name in FILES if not (bundle / name).is_file()]
    assert not missing, f"bundles/{bundle.name} is no whole bundle, it lacks {', '.join(missing)}."


def read_config(bundle: Path, name: str) -> dict:
    """A config as it stands in the file, nothing resolved."""
    return json.loads((bundle / "configs" / name).read_text())


@pytest.fixture(
    scope="session",
    params=sorted(p for p in BUNDLES.iterdir() if p.is_dir() and not p.name.startswith((".", "_"))),
    ids=lambda path: path.name,
)
def bundle(request) -> Path:
    """Every folder under bundles/ in turn: whoever adds a bundle gets its tests."""
    check_whole(request.param)
    return request.param


def parser_of(root: Path, *files: str, **settings) -> ConfigParser:
    """Configs of a bundle over one another, on the CPU, with settings as a command line would give them."""
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / name) for name in files])
    for key, value in {"bundle_root": str(root), "device": CPU, **settings}.items():
        parser[key] = value
    return parser


def other_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Channels, grid and label names that differ from a recipe's where the method leaves them free."""
    channels = [f"channel {c}" for c in range(2)] if len(recipe["channels"]) > 1 else ["other"]
    size = [16 * max(1, n // 24) for n in recipe["image_size"]]
    labels = ["background", *(f"part {k}" for k in range(1, len(recipe["labels"])))]
    pixdim = recipe["pixdim"]
    coarser = [1.5 * size if size > 0 else size for size in pixdim] if isinstance(pixdim, list) else 1.5 * pixdim
    changes = {"channels": channels, "image_size": size, "pixdim": coarser, "labels": labels}
    if "label_values" in recipe:
        names = dict(zip(recipe["labels"], labels, strict=True))
        changes["label_values"] = {names[name]: values for name, values in recipe["label_values"].items()}
    return changes


def one_update(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a training config for an epoch of one update of its smallest networks."""
    small = {key: value for key, value in {**SMALLEST, **SHORT}.items() if key in config}
    return small | ({} if config["labelled_per_batch"] else {"labelled_per_batch": 0})


def load_nifti(path: Path) -> nib.Nifti1Image:
    """A NIfTI file, nothing else that nibabel reads."""
    image = nib.load(path)
    assert isinstance(image, nib.Nifti1Image)
    return image


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """Folders of prepared data by recipe: that of a bundle, with other values where they are given."""
    folders: dict[str, Path] = {}

    def get(bundle: Path, **changes: Any) -> Path:
        recipe = read_config(bundle, "inference.json")["recipe"] | changes
        key = json.dumps(recipe, sort_keys=True)
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("prepared")
            write_squares(folders[key], recipe)
        return folders[key]

    return get
