"""What `transeg verify` finds: every changed byte, unsafe paths and weights, names and weights that do not fit."""

import io
import json
import random
import re
import zipfile

import pytest
import torch
from transeg.bundle.archive import json_bytes, manifest, zip_bytes
from transeg.bundle.check import check
from transeg.bundle.verify import problems
from transeg.networks.spectral import plain_state_dict
from typer.testing import CliRunner

from .conftest import network


@pytest.fixture
def files(released):
    """Files of the release by their path in the bundle."""
    with zipfile.ZipFile(released.zip) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def rebuilt(released, files, tmp_path):
    """Zip of `files` with changes, consistent in itself."""

    def write(relist=True):
        if relist:
            files["manifest.json"] = manifest(files)
        path = tmp_path / released.zip.name
        path.write_bytes(zip_bytes({f"{released.name}/{name}": content for name, content in files.items()}))
        return path

    return write


def unzipped(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_a_release_has_no_problems(released):
    from transeg.cli import app

    result = CliRunner().invoke(app, ["verify", str(released.zip)])
    assert result.exit_code == 0, result.output
    assert "OK: intact, safe to load, consistent" in result.output


@pytest.mark.parametrize("region", ["anywhere", "headers"])
def test_each_changed_byte_of_a_zip_is_found(released, tmp_path, region):
    data = released.zip.read_bytes()
    with zipfile.ZipFile(released.zip) as archive:
        directory, first = archive.start_dir, archive.infolist()[0]
    assert first.header_offset == 0
    places = list(range(len(data)))
    if region == "headers":  # that of the first file, the central directory and the end record
        places = [*range(30 + len(first.filename)), *range(directory, len(data))]
    rng = random.Random(0)
    for place in rng.sample(places, 20):
        changed = bytearray(data)
        changed[place] ^= rng.randrange(1, 256)
        path = tmp_path / released.zip.name  # without the .sha256 beside it
        path.write_bytes(changed)
        assert problems(path), f"byte {place}"


def test_each_changed_byte_of_a_folder_is_found(files, tmp_path):
    folder = unzipped(files, tmp_path)
    rng = random.Random(1)
    for name in [*rng.sample(sorted(files), 19), "manifest.json"]:
        changed = bytearray(files[name])
        changed[rng.randrange(len(changed))] ^= rng.randrange(1, 256)
        (folder / name).write_bytes(changed)
        assert problems(folder), name
        (folder / name).write_bytes(files[name])


def test_cut_longer_and_other_files_are_no_bundles(released, tmp_path):
    data = released.zip.read_bytes()
    path = tmp_path / released.zip.name
    for content in (b"", b"PK", data[:-1], data[: len(data) // 2], data + b"\0", b"\0" + data):
        path.write_bytes(content)
        assert problems(path)
    assert problems(tmp_path / "none.zip") == ["no such file or folder"]
    path.write_bytes(data)
    (tmp_path / f"{path.name}.sha256").write_text(f"{'0' * 64}  {path.name}\n")
    assert "not that in" in problems(path)[0]


def test_what_was_not_packaged_cannot_be_verified(bundle):
    assert problems(bundle) == ["manifest.json: missing; package the bundle first, or check it by `transeg preflight`"]


def test_missing_extra_and_changed_files_have_a_line_each(files, rebuilt):
    del files["LICENSE"]
    files["docs/README.md"] += b"!"
    files["models/other.pt"] = b"?"
    assert problems(rebuilt(relist=False)) == [
        "LICENSE: missing",
        "docs/README.md: changed",
        "models/other.pt: not in manifest.json",
    ]


def test_runs_may_leave_files_in_a_folder_but_not_weights(files, tmp_path):
    folder = unzipped(files, tmp_path)
    for left in ("data/a.nii.gz", "eval/b.csv", "runs/a/b/d.pt", "transeg/__pycache__/c.pyc", "models/train_state.pt"):
        (folder / left).parent.mkdir(exist_ok=True, parents=True)
        (folder / left).write_bytes(b"")
    (folder / "link").symlink_to("LICENSE")
    assert problems(folder) == ["link: a link, not a plain file", "models/train_state.pt: not in manifest.json"]


@pytest.mark.parametrize("path", ["../evil.py", "NAME/../../evil.py", "/evil.py", "NAME\\..\\evil.py", "C:/evil.py"])
def test_a_path_that_escapes_is_found_and_nothing_written(released, files, tmp_path, path):
    zipped = tmp_path / "a" / "b" / released.zip.name
    zipped.parent.mkdir(parents=True)
    files = {f"{released.name}/{name}": content for name, content in files.items()}
    entry = path.replace("NAME", released.name)
    zipped.write_bytes(zip_bytes(files | {entry: b"evil"}))
    assert f"{entry}: path leads out of the bundle" in problems(zipped)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [zipped]


def test_links_and_compressed_files_in_a_zip_are_refused(released, tmp_path):
    path = tmp_path / released.zip.name
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo(f"{released.name}/link")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr(f"{released.name}/bomb", bytes(10**6), zipfile.ZIP_DEFLATED)
    assert [fault.split(": ")[1][:16] for fault in problems(path)] == ["not a plain file", "compressed; `tra"]


class Evil:
    def __reduce__(self):
        return print, ("code in a pickle ran",)


def test_weights_that_need_a_pickle_are_refused(files, rebuilt, capfd):
    buffer = io.BytesIO()
    torch.save({"weight": Evil()}, buffer)
    files["models/model.pt"] = buffer.getvalue()
    assert "models/model.pt: does not load with weights_only=True" in problems(rebuilt())[0]
    files["models/model.pt"] = b"not weights"
    assert "models/model.pt: does not load with weights_only=True" in problems(rebuilt())[0]
    assert "ran" not in capfd.readouterr().out


def test_weights_of_another_network_are_found(bundle, files, tmp_path, monkeypatch):
    monkeypatch.chdir(unzipped(files, tmp_path))
    width = json.loads(files["configs/inference.json"])["width"] + 1
    torch.save(plain_state_dict(network(bundle, width=width)), "models/model.pt")
    assert "weights of another network" in check()[0]


def test_a_release_of_another_version_is_told(files, rebuilt):
    files["transeg/__init__.py"] = b'__version__ = "0.1.0"\n'
    [fault] = problems(rebuilt())
    assert fault.startswith("made with transeg 0.1.0, this is ")


def test_names_are_looked_up_in_the_package_of_the_zip(files, rebuilt):
    del files["transeg/data/samplers.py"]  # an installed transeg has it
    faults = problems(rebuilt())
    assert len(faults) == 1
    assert re.search(r"transeg.data.samplers(: missing from the bundle|\.UnpairedBatchSampler)", faults[0])


def test_faults_of_a_config_have_a_line_each(files, tmp_path, monkeypatch):
    config = json.loads(files["configs/inference.json"])
    config["imports"].append("$import nosuchpackage")
    config["inferer"] = {"_target_": "transeg.inferers.slices.NoInferer"}
    config["dataset"]["_target_"] = "NoDataset"
    config["evaluator"]["network"] = "@netwrk"
    config["run"] = ["$transeg.data.read_nothing(@datalist)", "$@evaluator.run("]
    files["configs/inference.json"] = json_bytes(config)
    files["configs/paper.json"] = b"{"
    monkeypatch.chdir(unzipped(files, tmp_path))
    faults = check()
    expected = [
        "paper.json: cannot be read",
        f"imports#{len(config['imports']) - 1}: no package nosuchpackage",
        "inferer#_target_: no such name: transeg.inferers.slices.NoInferer",
        "dataset#_target_: no such name: NoDataset",
        "evaluator#network: no such key: @netwrk",
        "run#0: no such name: transeg.data.read_nothing",
        "run#1: not an expression",
    ]
    assert all(any(part in fault for fault in faults) for part in expected), faults
    assert len(faults) == len(expected)
