"""An output folder says which weights its results are of, and loses only what transeg wrote."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from transeg.data.results import names_of_results, open_results, remove_results, results_of
from transeg.errors import DataError, UserError
from transeg.files import RUN, write_rows
from transeg.transforms.outputs import write_nifti
from transeg.transforms.reports import save_figure


def rows(path):
    with path.open(newline="") as file:
        return [(row["case"], row[RUN]) for row in csv.DictReader(file)]


def test_writable(tmp_path):
    open_results(tmp_path / "new" / "folder", tmp_path / "model.pt", {})
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="cannot write to the output folder"):
            open_results(folder, tmp_path / "model.pt", {})


def test_rows_tell_which_weights_and_recipe_they_are_of(tmp_path, caplog):
    weights, out = tmp_path / "model.pt", tmp_path / "out"
    weights.write_bytes(b"first")

    def run(case, pixdim):
        open_results(out, weights, {"pixdim": pixdim})
        write_rows(out / "a.csv", ("case", "x"), [{"case": case, "x": 1}])

    run("p1", 2)
    run("p2", 2)
    assert not caplog.text
    run("p3", 3)
    assert "also holds results of other weights or another recipe" in caplog.text
    weights.write_bytes(b"second")
    run("p4", 3)
    run("p1", 3)  # again: its former row goes
    found = dict(rows(out / "a.csv"))
    assert list(found) == ["p2", "p3", "p4", "p1"]
    assert found["p4"] == found["p1"]
    assert len({*found.values()}) == 3
    record = json.loads((out / "runs.json").read_text())
    assert {*record["runs"]} == {*found.values()}
    assert record["current"] == found["p1"]
    assert record["runs"][found["p2"]]["sha256"].startswith("a7937b64b8ca")  # of b"first"


def test_results_tell_their_channels_and_labels(tmp_path):
    names = {"channels": ["t1", "flair"], "labels": ["background", "tumour"]}
    open_results(tmp_path, tmp_path / "model.pt", {"pixdim": 2, **names})
    assert names_of_results(tmp_path) == names
    for content in ("[1]", '{"current": "a", "runs": {"a": {"sha256": ""}}}'):
        (tmp_path / "runs.json").write_text(content)
        with pytest.raises(DataError, match=r"runs.json: does not tell channels and labels of the results"):
            names_of_results(tmp_path)


def test_another_file_of_the_name_is_no_record(tmp_path):
    (tmp_path / "runs.json").write_text("[1]")
    write_rows(tmp_path / "a.csv", ("case",), [{"case": "p"}])
    assert rows(tmp_path / "a.csv") == [("p", "")]


@pytest.fixture
def folder(tmp_path):
    """Results of the cases a and a_b, beside what others wrote."""
    for case in ("a", "a_b"):
        for postfix in ("seg", "translation"):
            write_nifti(tmp_path / f"{case}_{postfix}.nii.gz", torch.zeros(1, 2, 2, 2), torch.eye(4), postfix=postfix)
        for what in ("", "trust"):
            save_figure(tmp_path, case, what, np.zeros((2, 2, 3), np.uint8))
        write_rows(tmp_path / "muscle.csv", ("case", "leg"), [{"case": case, "leg": leg} for leg in "lr"])
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)), tmp_path / "a_manual.nii.gz")
    for name in ("a_photo.png", "a_b.photo.png", "c.png"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "a_notes.nii.gz").write_text("no volume")
    (tmp_path / "cases.csv").write_text("case,image\na,a.nii.gz\n")
    return tmp_path


def test_results_of_a_case_are_removed_and_nothing_else(folder):
    own = ["a.png", "a_seg.nii.gz", "a_translation.nii.gz", "a_trust.png"]
    others = {path.name for path in folder.iterdir()} - {*own}
    assert [path.name for path in results_of(folder, "a")] == own
    assert results_of(folder, "c") == []
    assert [path.name for path in remove_results(folder, "a")] == own
    assert {path.name for path in folder.iterdir()} == others
    assert rows(folder / "muscle.csv") == [("a_b", ""), ("a_b", "")]
    assert (folder / "cases.csv").read_text() == "case,image\na,a.nii.gz\n"


def test_what_is_still_read_stays(folder):
    assert [path.name for path in remove_results(folder, "a", keep=[folder / "a_translation.nii.gz"])] == [
        "a.png",
        "a_seg.nii.gz",
        "a_trust.png",
    ]
    assert remove_results(folder / "missing", "a") == []
