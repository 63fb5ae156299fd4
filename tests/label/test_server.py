"""The real MONAI Label server with a bundle as its model: grids, requests at once, bad studies, weights, its end."""

import json
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from benchmarks.label_server import LabelServer
from tests.bundle.conftest import ROOT

from .dialogue import ALL, LABELLED, check_mask, latest_run, read, with_small_training, write_phantoms

pytestmark = pytest.mark.xdist_group("server")  # they share one

NAME = "brain_mri_genseg_segmentation"
TURN, TILT = (np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]]) for t in (0.3, 0.1))
OBLIQUE = np.eye(4)
OBLIQUE[:2, :2] = TURN
OBLIQUE[1:3, :3] = TILT @ OBLIQUE[1:3, :3]
OBLIQUE = OBLIQUE @ np.diag([3.9, 3.8, 4.1, 1])
OBLIQUE[:3, 3] = -120, -100, -60
GRIDS = (None, OBLIQUE, np.diag([-4.0, 4.0, -3.5, 1.0]))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Small phantoms on several grids, and the bundle with a training run of two updates."""
    root = tmp_path_factory.mktemp("label")
    bundle = with_small_training(ROOT / "bundles" / NAME, root)
    write_phantoms(root / "studies", bundle, GRIDS)
    return root


@pytest.fixture(scope="module")
def server(python, place):
    with LabelServer(python, place / "studies", place / NAME, place / "app") as server:
        yield server


def test_the_model_is_offered_with_our_labels(server):
    info = json.loads(server.request("GET", "/info/").content)
    assert info["labels"] == ["tumour"]
    assert info["models"][NAME]["labels"] == {"tumour": 1}
    assert list(info["trainers"]) == [NAME]
    assert (info["datastore"]["total"], info["datastore"]["completed"]) == (ALL, LABELLED)


def test_masks_lie_on_the_grids_of_the_studies_also_two_at_once(server, place, tmp_path):
    names = [f"p{k}" for k in range(ALL)]
    alone = [read(server.infer(NAME, name), tmp_path / f"{name}.nii.gz") for name in names]
    for name, mask in zip(names, alone, strict=True):
        check_mask(mask, place / "studies" / f"{name}.nii.gz")
    assert all(np.count_nonzero(mask.dataobj) for mask in alone)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: server.infer(NAME, name), names * 2))
    for name, mask, answer in zip(names * 2, alone * 2, answers, strict=True):
        again = read(answer, tmp_path / f"{name}_again.nii.gz")
        np.testing.assert_array_equal(again.affine, mask.affine)
        np.testing.assert_array_equal(again.dataobj, mask.dataobj)


def test_a_bad_study_is_an_answer_and_the_server_lives_on(server, place, tmp_path):
    good = place / "studies" / "p0.nii.gz"
    image = nib.Nifti1Image.from_filename(good)
    bare = nib.Nifti1Image(np.asarray(image.dataobj), None)
    bare.header["qform_code"] = bare.header["sform_code"] = 0
    nib.save(bare, tmp_path / "bare.nii.gz")
    nib.save(image.slicer[..., :2], tmp_path / "two.nii.gz")
    (tmp_path / "half.nii.gz").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    for name, fault in {"bare": "set the affine", "two": "3 are needed", "half": "truncated"}.items():
        answer = server.infer_file(NAME, tmp_path / f"{name}.nii.gz")
        assert answer.status == 422
        assert fault in json.loads(answer.content)["detail"]
    check_mask(read(server.infer_file(NAME, good), tmp_path / "mask.nii.gz"), good)


def test_better_weights_replace_those_there_and_the_next_mask_uses_them(server, place, tmp_path):
    folder = place / "app" / "monaibundle" / "model" / NAME
    weights, mask = folder / "models" / "model.pt", read(server.infer(NAME, "p3"), tmp_path / "before.nii.gz")
    good = shutil.copy(weights, weights.with_name("good.pt"))
    state = torch.load(weights, weights_only=True)
    torch.save({key: torch.zeros_like(value) for key, value in state.items()}, weights)
    bad = weights.read_bytes()
    empty = read(server.infer(NAME, "p3"), tmp_path / "empty.nii.gz")
    assert not np.array_equal(empty.dataobj, mask.dataobj)  # what lies there is what it uses

    training = server.train(NAME, max_epochs=1, device="cpu", model_filename="good.pt")
    assert training["status"] == "DONE", "\n".join(training["details"])
    good.unlink()
    assert f"New weights in {weights}: score " in server.log.read_text()
    run = latest_run(place / "app", place / NAME)
    assert weights.read_bytes() == (run / "models" / "model.pt").read_bytes() != bad
    assert (weights.parent / "previous" / f"{run.name}.pt").read_bytes() == bad
    after = read(server.infer(NAME, "p3"), tmp_path / "after.nii.gz")
    check_mask(after, place / "studies" / "p3.nii.gz")
    assert not np.array_equal(after.dataobj, empty.dataobj)


def test_without_a_label_a_training_says_so_and_its_end_is_that_of_the_server(python, place, tmp_path):
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copy(place / "studies" / "p0.nii.gz", studies)
    with LabelServer(python, studies, place / NAME, tmp_path / "app") as server:
        training = server.train(NAME, max_epochs=1, device="cpu")
        assert training["status"] == "ERROR"
        assert "in MONAI Label submit a label" in training["details"][-1]
        server.request("POST", f"/train/{NAME}", b"{}")
        deadline = time.monotonic() + 60
        while "RUNNING" not in server.request("GET", "/train/").content.decode() and time.monotonic() < deadline:
            time.sleep(0.1)
        trainings = running("monailabel.interfaces.utils.app", str(studies.parent))
        assert trainings
    assert server.process.returncode in (0, -signal.SIGTERM)
    assert not [pid for pid in trainings if Path(f"/proc/{pid}").exists()]


def running(*words):
    """Processes whose command or environment holds the words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
        except OSError:
            continue
        if all(word.encode() in text for word in words):
            found.append(int(folder.name))
    return found
