"""A fifth method is one folder and one bundle: no shared file is touched, and every tool works on it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.commands import python_m

ROOT = Path(__file__).resolve().parents[1]
TOY = Path(__file__).with_name("toy")  # methods/toy and the files that a bundle has beside its configs
NAME = "knee_mri_toy_segmentation"
SHAPE = (32, 40, 5)


def digests(folder: Path) -> dict[str, str]:
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project with the toy method in it."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("shared", "bundles", "tests", "data_prep"):
        left = ("data", "eval") if name == "bundles" else ()  # transeg.data is a package
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", *left))
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copytree(TOY / "method", root / "shared/transeg/methods/toy")
    return root


def run(checkout: Path, *arguments: object) -> str:
    """`python -m ARGUMENTS` in the copy, with its packages."""
    return python_m(*arguments, cwd=checkout, log=checkout / "log", checkout=checkout)


def bundle(checkout: Path, run_id: str, *files: str, **options: object) -> str:
    configs = "[" + ",".join(f"'{file}'" for file in files) + "]"
    pairs = [part for key, value in options.items() for part in (f"--{key}", value)]
    return run(checkout, "monai.bundle", "run", run_id, "--config_file", configs, *pairs)


def write_data(folder: Path) -> Path:
    """Bright squares in noise: slices to train on, volumes to test on, with the recipe that the toy needs."""
    rng = np.random.default_rng(0)
    volume = rng.normal(100, 10, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint8)
    mask[8:20, 10:24, 1:4] = 1
    volume += 60 * mask
    folder.mkdir()
    for name, array in (("scan", volume), ("mask", mask)):
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, 2.0, 3.0, 1.0])), folder / f"{name}.nii.gz")
    slices = np.moveaxis((volume - 100) / 60, -1, 0)[:, None].astype(np.float16)
    np.save(folder / "images.npy", slices)
    np.save(folder / "labels.npy", np.moveaxis(mask, -1, 0))
    items = [{"image": "images.npy", "label": "labels.npy", "index": k, "case": "scan"} for k in range(SHAPE[2])]
    recipe = json.loads((TOY / "method" / "bundle.json").read_text())["recipe"]
    lists = {"training": items[1:4], "training_absence": [items[0], items[4]]}
    lists["validation"] = [item | {"case": "another"} for item in items]
    lists["test_volumes"] = [{"image": "scan.nii.gz", "label": "mask.nii.gz", "case": "scan"}]
    (folder / "datalist.json").write_text(json.dumps({"name": "squares", "recipe": recipe, **lists}))
    return folder


@pytest.mark.timeout(900)
def test_a_fifth_method_touches_no_shared_file(checkout, tmp_path):
    before = digests(checkout / "shared")
    assert all((checkout / "shared" / path).is_file() for path in before)
    data, root = write_data(tmp_path / "data"), checkout / "bundles" / NAME

    run(checkout, "transeg.cli", "make", "toy")
    shutil.copytree(TOY / "docs", root / "docs")
    run(checkout, "transeg.cli", "make", "--check")  # those of the others too

    trained = tmp_path / "run"
    bundle(checkout, "training", root / "configs/train.json", dataset_dir=data, run_dir=trained, epochs=2)
    assert not (root / "models").exists()
    (root / "models").mkdir()
    shutil.copy(trained / "models/model.pt", root / "models")

    for folder in (root, trained):
        out = tmp_path / f"masks_{folder.name}"
        bundle(checkout, "inferring", folder / "configs/inference.json", dataset_dir=data, output_dir=out)
        mask = nib.load(out / "scan_seg.nii.gz")
        assert mask.shape == SHAPE
        files = [folder / "configs/inference.json", folder / "configs/evaluate.json"]
        bundle(checkout, "evaluating", *files, dataset_dir=data, output_dir=out)
        assert (out / "evaluation.csv").is_file()
        assert "ready" in run(checkout, "transeg.cli", "preflight", folder, "--dataset_dir", data)
        run(checkout, "transeg.cli", "package", folder, "--out", tmp_path / f"dist_{folder.name}")
        [archive] = (tmp_path / f"dist_{folder.name}").glob("*.zip")
        run(checkout, "transeg.cli", "verify", archive)

    contract = ["tests/bundles/test_contract.py", "tests/test_arrows.py", "tests/bundles/test_sources.py"]
    run(checkout, "pytest", "-q", "-p", "no:cacheprovider", "-k", f"{NAME} or arrows or sources", *contract)

    own = {path for path in digests(checkout / "shared") if path.startswith("transeg/methods/toy/")}
    after = {path: value for path, value in digests(checkout / "shared").items() if path not in own}
    assert after == {path: value for path, value in before.items() if path not in own}
