"""Zips of bundles: what is in them, the same bytes each time, and faults that are told."""

import hashlib
import json
import os
import shutil
import zipfile

import pytest
from transeg.bundle.package import PACKAGE, build, flatten, needed_modules
from transeg.errors import ReleaseError
from typer.testing import CliRunner


@pytest.fixture
def copy(bundle, tmp_path):
    return shutil.copytree(bundle, tmp_path / bundle.name)


def metadata(bundle, **changes):
    path = bundle / "configs" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_holds_the_bundle_and_the_modules_that_it_needs(released, bundle):
    with zipfile.ZipFile(released.zip) as archive:
        names = {name.removeprefix(f"{released.name}/") for name in archive.namelist()}
        shipped = json.loads(archive.read(f"{released.name}/configs/metadata.json"))
        listed = json.loads(archive.read(f"{released.name}/manifest.json"))["files"]
    own = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    vendored = {name for name in names if name.startswith("transeg/")}
    assert names == own | vendored | {"manifest.json"}
    assert {"transeg/__init__.py", "transeg/inferers.py", "transeg/networks/genseg.py"} <= vendored
    assert not {"transeg/cli.py", "transeg/demo/brain.py", "transeg/release/package.py"} & vendored
    assert "transeg" not in shipped["required_packages_version"]
    assert set(listed) == names - {"manifest.json"}


def test_index_and_checksum_are_those_of_the_zip(released):
    data = released.zip.read_bytes()
    index = json.loads((released.out / "model_info.json").read_text())
    assert index == {
        released.zip.stem: {
            "checksum": hashlib.sha1(data).hexdigest(),
            "source": f"https://example.org/releases/{released.zip.name}",
        }
    }
    line = (released.out / f"{released.zip.name}.sha256").read_text()
    assert line == f"{hashlib.sha256(data).hexdigest()}  {released.zip.name}\n"


def test_the_same_files_give_the_same_bytes(released, copy, tmp_path):
    for path in copy.rglob("*"):
        path.chmod(0o755)
        os.utime(path, (1e9, 1e9))
    for left in ("data/scan.nii.gz", "eval/run.csv", "models/train_state.pt", "configs/__pycache__/a.pyc", "docs/.swp"):
        (copy / left).parent.mkdir(exist_ok=True)
        (copy / left).write_text("left by a run")
    assert build(copy, tmp_path / "out").read_bytes() == released.zip.read_bytes()


def test_the_index_keeps_what_else_it_lists(copy, tmp_path):
    build(copy, tmp_path)
    metadata(copy, version="0.2.0", changelog={"0.2.0": "second"})
    build(copy, tmp_path)
    assert set(json.loads((tmp_path / "model_info.json").read_text())) == {f"{copy.name}_v0.1.0", f"{copy.name}_v0.2.0"}


@pytest.mark.parametrize("missing", ["models/model.pt", "LICENSE", "docs/README.md", "configs/metadata.json"])
def test_a_missing_file_is_named(copy, tmp_path, missing):
    (copy / missing).unlink()
    with pytest.raises(ReleaseError, match=f"{missing}: no such file"):
        build(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"version": "0.1"}, "not of the form 1.2.3"), ({"version": "9.9.9"}, "changelog lacks version 9.9.9")],
)
def test_a_version_that_cannot_be_released_is_refused(copy, tmp_path, changes, message):
    metadata(copy, **changes)
    with pytest.raises(ReleaseError, match=message):
        build(copy, tmp_path / "out")


def test_a_name_that_monai_would_cut_is_refused(copy, tmp_path):
    with pytest.raises(ReleaseError, match="rename it"):
        build(copy.rename(tmp_path / "brain_vnet"), tmp_path / "out")


def test_macros_into_other_files_are_resolved(copy):
    (copy / "configs" / "base.json").write_text(json.dumps({"a": {"b": [1, "%configs/more.json#c"]}}))
    (copy / "configs" / "more.json").write_text(json.dumps({"c": "@d"}))
    assert flatten({"x": ["%configs/base.json#a"], "y": "%x"}, copy) == {"x": [{"b": [1, "@d"]}], "y": "%x"}
    with pytest.raises(ReleaseError, match=r"%configs/none\.json#a leads nowhere"):
        flatten("%configs/none.json#a", copy)


def test_modules_are_followed_through_their_imports():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in needed_modules(["transeg.methods.genseg.objective.GenSegObjective"])
    }
    assert {"__init__.py", "objectives/genseg.py", "losses/adversarial.py"} <= found
    assert not [path for path in found if path.startswith(("networks/", "data/"))]


def test_the_command_names_what_it_wrote_and_what_fails(bundle, copy, tmp_path):
    from transeg.cli import app

    (copy / "models" / "model.pt").unlink()
    result = CliRunner().invoke(app, ["package", str(bundle), str(copy), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{bundle.name}_v0.1.0.zip" in result.output
    assert "model.pt: no such file; train first" in result.output
