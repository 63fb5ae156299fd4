"""Archives of bundles and run folders: what is in them, the same bytes each time, and faults that are told."""

import hashlib
import itertools
import json
import os
import re
import shutil
import zipfile

import pytest
from monai.bundle import verify_metadata
from transeg.bundle.package import PACKAGE, build, bundle_files, bundle_folder, bundle_root, flatten, needed_modules
from transeg.bundle.runs import bundle_name
from transeg.errors import ReleaseError
from typer.testing import CliRunner

from .conftest import BUNDLES, ROOT, change, recipe_of

SCHEMA = ROOT / "tests" / "bundles" / "meta_schema_20240725.json"


def metadata(bundle, **changes):
    change(bundle / "configs" / "metadata.json", lambda config: config.update(changes))


def version(bundle):
    return json.loads((bundle / "configs" / "metadata.json").read_text())["version"]


def members(zipped):
    with zipfile.ZipFile(zipped) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_holds_the_bundle_and_the_modules_that_it_needs(released, bundle):
    files = members(released.zip)
    with zipfile.ZipFile(released.zip) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {released.name}
    own = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    own = {name for name in own if not name.startswith("logs/") and name != "train_state.pt"}
    vendored = {name for name in files if name.startswith("transeg/")}
    assert files.keys() == own | vendored | {"manifest.json"}
    shipped = json.loads(files["configs/metadata.json"])
    assert "transeg" not in shipped["required_packages_version"]
    assert shipped.get("bundle", released.name) == released.name
    assert set(json.loads(files["manifest.json"])["files"]) == files.keys() - {"manifest.json"}

    method = shipped["method"]
    methods = {name.split("/")[2] for name in vendored if name.startswith("transeg/methods/")}
    assert methods == {"__init__.py", method}
    assert {f"transeg/methods/{method}/{part}.py" for part in ("networks", "objective")} <= vendored
    assert {"transeg/lazy.py", "transeg/bundle/config.py", "transeg/bundle/runs.py"} <= vendored
    tools = ("cli", "method", "bundle/make", "bundle/package", "bundle/label", "demo/command", f"methods/{method}/demo")
    assert not {f"transeg/{name}.py" for name in tools} & vendored
    assert len(vendored) < 115  # of 188; every method in every archive would make it many more


def test_modules_of_one_method_are_in_one_archive_only():
    """An edit of a method changes the archive of its bundle and no other."""
    vendored = {bundle.name: set(archive_modules(bundle)) for bundle in BUNDLES}
    for path in (PACKAGE / "methods").glob("*/*.py"):
        assert sum(path in modules for modules in vendored.values()) <= 1
    for first, second in itertools.permutations(vendored, 2):
        own = {path for path in vendored[first] - vendored[second] if path.parent.parent == PACKAGE / "methods"}
        assert own


def archive_modules(bundle):
    configs = b"".join(content for path, content in bundle_files(bundle).items() if path.startswith("configs/"))
    return needed_modules(re.findall(r"\btranseg(?:\.\w+)*", configs.decode()))


def test_an_edit_of_a_method_changes_one_hash(tmp_path, monkeypatch):
    package = shutil.copytree(PACKAGE, tmp_path / "transeg", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("transeg.bundle.package.PACKAGE", package)
    before = {bundle.name: build(bundle, tmp_path / "before").read_bytes() for bundle in BUNDLES}
    edited = next((package / "methods").glob("*/networks.py"))
    edited.write_text(edited.read_text() + "\n")
    after = {bundle.name: build(bundle, tmp_path / "after").read_bytes() for bundle in BUNDLES}
    assert [name for name in before if before[name] != after[name]] == [
        next(b.name for b in BUNDLES if recipe_of(b)["method"] == edited.parent.name)
    ]


def test_no_path_of_this_machine_is_in_the_archive(released, tmp_path_factory):
    for place in (tmp_path_factory.getbasetemp(), ROOT):
        assert [name for name, content in members(released.zip).items() if str(place).encode() in content] == []


def test_the_configs_of_a_packaged_run_find_their_folder(run_folder, tmp_path):
    files = members(build(run_folder, tmp_path, name="knees"))
    for name in ("train", "inference"):
        root = json.loads(files[f"configs/{name}.json"])["bundle_root"]
        assert "('.', 'bundles/knees')" in root
    assert json.loads(files["configs/train.json"])["dataset_dir"] == "$@bundle_root + '/data'"
    assert "--run_dir 2026-01-01_00-00-00" in files["docs/README.md"].decode()


def test_a_run_does_not_replace_another_archive(run_folder, tmp_path):
    first = build(run_folder, tmp_path / "out")
    assert build(run_folder, tmp_path / "out") == first
    other = shutil.copytree(run_folder, tmp_path / "other")
    (other / "docs" / "README.md").write_text("# Another run")
    with pytest.raises(
        ReleaseError, match=r"_v0\.1\.0\.zip is there and holds something else; give this run a name by"
    ):
        build(other, tmp_path / "out")
    assert build(other, tmp_path / "out", name="other") != first


def test_a_setting_with_a_path_of_this_machine_is_refused(copy, tmp_path):
    change(copy / "configs" / "train.json", lambda config: config.update(learning_rate="/home/me/rates"))
    with pytest.raises(ReleaseError, match=r"train\.json: learning_rate: /home/me/rates is a path of this machine"):
        build(copy, tmp_path / "out")


def test_a_release_has_the_name_that_is_asked_for(bundle, tmp_path):
    from transeg.cli import app

    result = CliRunner().invoke(app, ["package", str(bundle), "--name", "my_organ", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.glob("*.zip")] == [f"my_organ_v{version(bundle)}.zip"]
    result = CliRunner().invoke(app, ["package", str(bundle), str(bundle), "--name", "a", "--out", str(tmp_path)])
    assert result.exit_code == 1


def test_the_metadata_satisfy_the_schema_of_monai(released, tmp_path):
    path = tmp_path / "metadata.json"
    path.write_bytes(members(released.zip)["configs/metadata.json"])
    verify_metadata(meta_file=str(path), filepath=str(SCHEMA))


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
    left_by_runs = ("data/scan.nii.gz", "eval/run.csv", "logs/terms.jsonl", "runs/a/b/train_state.pt", "train_state.pt")
    for left in (*left_by_runs, "models/previous/a.pt", "configs/__pycache__/a.pyc", "docs/.swp"):
        (copy / left).parent.mkdir(exist_ok=True, parents=True)
        (copy / left).write_text("left by a run")
    assert build(copy, tmp_path / "out").read_bytes() == released.zip.read_bytes()


def test_the_index_keeps_what_else_it_lists(copy, tmp_path):
    first = build(copy, tmp_path)
    metadata(copy, version="9.0.0", changelog={"9.0.0": "second"})
    second = build(copy, tmp_path)
    assert set(json.loads((tmp_path / "model_info.json").read_text())) == {first.stem, second.stem}


@pytest.mark.parametrize("missing", ["models/model.pt", "LICENSE", "docs/README.md", "configs/metadata.json"])
def test_a_missing_file_is_named(copy, tmp_path, missing):
    (copy / missing).unlink()
    with pytest.raises(ReleaseError, match=f"{missing}: no such file"):
        build(copy, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"version": "0.1"}, "not of the form 1.2.3"), ({"version": "9.9.9"}, "no version 9.9.9 in the changelog")],
)
def test_a_version_that_cannot_be_released_is_refused(copy, tmp_path, changes, message):
    metadata(copy, **changes)
    with pytest.raises(ReleaseError, match=message):
        build(copy, tmp_path / "out")


def test_a_name_that_monai_would_cut_is_refused(copy, tmp_path):
    for name in ("brain_vnet", "brain-net"):
        with pytest.raises(ReleaseError, match=f"{name}: rename it by --name"):
            build(copy, tmp_path / "out", name=name)


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
    assert {"__init__.py", "methods/genseg/objective.py", "losses/adversarial.py"} <= found
    assert not [path for path in found if path.startswith(("engines/", "data/", "methods/thigh"))]


def test_bundles_are_found_by_name():
    assert bundle_folder(BUNDLES[0].name).resolve() == BUNDLES[0]
    with pytest.raises(ReleaseError, match="no bundle nothing; there are brain_mri_genseg_segmentation, "):
        bundle_folder("nothing")


def test_the_command_names_what_it_wrote_and_what_fails(bundle, copy, tmp_path, monkeypatch):
    from transeg.cli import app

    (copy / "models" / "model.pt").unlink()
    result = CliRunner().invoke(app, ["package", str(bundle), str(copy), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert f"{bundle_name(bundle)}_v{version(bundle)}.zip" in result.output
    assert "model.pt: no such file; train first" in result.output
    monkeypatch.chdir(tmp_path)
    assert "name a bundle or run folder" in CliRunner().invoke(app, ["package"]).output


def test_a_package_is_to_be_unpacked(tmp_path):
    (tmp_path / "bundle.zip").touch()
    with pytest.raises(ReleaseError, match=r"bundle\.zip: a package; unpack it and name its folder"):
        bundle_root(str(tmp_path / "bundle.zip"))
