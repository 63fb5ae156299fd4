"""Files are written whole or not at all; cases are named alike everywhere."""

import csv
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from transeg.data.datalist import write_datalist, write_stack
from transeg.engines.weights import save_atomically
from transeg.errors import DataError
from transeg.files import atomic, case_name, digest_of, file_name, volume_stem, write_rows, write_text
from transeg.transforms.outputs import write_nifti


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("sync", [False, True])
def test_atomic_replaces_a_file(tmp_path, sync):
    path = tmp_path / "new" / "a.txt"
    for text in ("one", "two"):
        with atomic(path, sync) as partial:
            assert partial.suffix == ".txt"
            partial.write_text(text)
        assert path.read_text() == text
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail():
        with atomic(path) as partial:
            partial.write_text("ne")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    script = f"""
import os, signal
from transeg.files import atomic
with atomic({str(path)!r}) as partial:
    partial.write_text("ne")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=env, check=False).returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text(path, "new")  # what is left does no harm and goes away
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "new"


def failing(*values):
    yield from values
    raise OSError("disk full")


class Unwritable:
    """Fails while it is written."""

    def __reduce__(self):
        raise OSError("disk full")


WRITERS = {
    "weights": lambda path, whole: save_atomically({"a": 1, "b": 2 if whole else Unwritable()}, path),
    "stack": lambda path, whole: write_stack(path, [np.zeros((1, 2))] if whole else failing(), (1, 2), np.uint8),
    "volume": lambda path, whole: write_nifti(path, torch.zeros(1, 2, 2, 2), torch.eye(4)),
    "datalist": lambda path, whole: write_datalist(
        path,
        {"training": [{"image": "a" if whole else Unwritable()}]},
        name="n",
        description="d",
        recipe={"channels": [], "labels": ()},
        preparation={},
    ),
    "rows": lambda path, whole: write_rows(path, ("case",), [{"case": "a"} if whole else {"case": "a", "other": 1}]),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_writer_leaves_the_old_file(tmp_path, kind, monkeypatch):
    path = tmp_path / ("a.nii.gz" if kind == "volume" else "a.txt")
    WRITERS[kind](path, True)
    old = path.read_bytes()
    if kind == "volume":
        monkeypatch.setattr(nib, "save", lambda image, file: next(failing()))
    with pytest.raises((OSError, TypeError, ValueError)):
        WRITERS[kind](path, False)
    assert path.read_bytes() == old
    assert not list(tmp_path.glob(".partial_*"))


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("/x/a.nii.gz", "a"),
        ("a.b.nii", "a.b"),
        ("A.NII.GZ", "A"),
        ("a.nrrd", "a"),
        ("x/a.mha", "a"),
        ("a.npy", "a.npy"),
        ("a.nii.json", "a.nii.json"),
    ],
)
def test_stems(name, stem):
    assert volume_stem(name) == stem


def test_names_of_files_and_cases(tmp_path):
    loaded = MetaTensor(torch.zeros(1), meta={"filename_or_obj": "/in/scan.nii.gz"})
    for volume, file in (
        (loaded, "/in/scan.nii.gz"),
        ("/in/a.nii", "/in/a.nii"),
        (tmp_path / "a.nii", str(tmp_path / "a.nii")),
        (["/in/b.nrrd", "/in/c.nrrd"], "/in/b.nrrd"),
        (torch.zeros(1), "volume"),
        (MetaTensor(torch.zeros(1)), "volume"),
    ):
        assert file_name(volume) == file
        assert case_name({"image": volume}, "image") == volume_stem(file)
        assert case_name({"image": volume, "case": "p1.nii"}, "image") == "p1.nii"


def test_rows_of_another_table_are_not_mixed(tmp_path):
    write_rows(tmp_path / "a.csv", ("case", "x"), [{"case": "1", "x": 2}])
    with pytest.raises(DataError, match="columns are not case, y"):
        write_rows(tmp_path / "a.csv", ("case", "y"), [{"case": "1", "y": 2}])
    assert rows(tmp_path / "a.csv") == [{"case": "1", "x": "2", "transeg_run": ""}]


def test_several_writers_take_turns(tmp_path):
    def write(k):
        write_rows(tmp_path / "a.csv", ("case", "x"), [{"case": str(k), "x": k}])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    assert {row["case"] for row in rows(tmp_path / "a.csv")} == {str(k) for k in range(40)}


def test_digest_of_a_file_and_of_none(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of(tmp_path / "b") == ""
