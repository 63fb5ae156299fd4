"""Every bundle, and a run folder of each, in the real MONAI Label server: masks, a training, masks, and a restart."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from transeg.bundle.preflight import preflight_problems
from transeg.bundle.runs import bundle_name, method_of

from benchmarks.label_server import LabelServer
from tests.bundle.conftest import BUNDLES, TRAINED

from .dialogue import (
    check_lists,
    check_mask,
    labels_of,
    latest_run,
    model_folder,
    read,
    with_small_training,
    write_phantoms,
)


@pytest.fixture(params=[*BUNDLES, "run folder"], ids=lambda path: Path(path).name)
def bundle(request, tmp_path):
    source = request.getfixturevalue("run_folder") if request.param == "run folder" else request.param
    return with_small_training(source, tmp_path)


@pytest.mark.parametrize("trained", [b for b in BUNDLES if b.name != TRAINED], ids=lambda path: path.name)
def test_a_run_folder_segments_with_its_own_labels(python, trained, run_of, tmp_path):
    """A training run and a restart are those of the dialogue above."""
    run = run_of(trained)
    studies = write_phantoms(tmp_path / "studies", run)
    with LabelServer(python, studies, run, tmp_path / "app") as server:
        info = json.loads(server.request("GET", "/info/").content)
        assert info["models"][trained.name]["labels"] == labels_of(run)
        mask = read(server.infer(trained.name, "p2"), tmp_path / "mask.nii.gz")
        check_mask(mask, studies / "p2.nii.gz", labels_of(run).values())


def model_files(server, name):
    """Weights that are offered for inference and for training."""
    info = json.loads(server.request("GET", "/info/").content)
    return [info[kind][name]["config"]["model_filename"] for kind in ("models", "trainers")]


def masks(server, bundle, studies, folder):
    found = {}
    for name in ("p2", "p3"):
        mask = read(server.infer(bundle_name(bundle), name), folder / f"{name}.nii.gz")
        check_mask(mask, studies / f"{name}.nii.gz", labels_of(bundle).values())
        found[name] = np.asarray(mask.dataobj)
    return found


@pytest.mark.timeout(900)
def test_masks_a_training_run_and_masks(python, bundle, tmp_path):
    name, app = bundle_name(bundle), tmp_path / "app"
    studies = write_phantoms(tmp_path / "studies", bundle)
    with LabelServer(python, studies, bundle, app) as server:
        info = json.loads(server.request("GET", "/info/").content)
        assert info["models"][name]["labels"] == labels_of(bundle)
        before = masks(server, bundle, studies, tmp_path)
        assert any(mask.any() for mask in before.values())

        weights = model_folder(app, bundle) / "models" / "model.pt"
        first = weights.read_bytes()
        training = server.train(name, max_epochs=1, device="cpu")
        assert training["status"] == "DONE", "\n".join(training["details"])
        log = server.log.read_text()
        assert "Restored all variables" in log  # it began from the weights that were there

        run = latest_run(app, bundle)
        lists = json.loads((run / "logs" / "slices" / "training" / "datalist.json").read_text())
        check_lists(method_of(bundle), lists, run)
        check_run_folder(run, studies)

        replaced = check_promotion(log, weights, first, run)
        after = masks(server, bundle, studies, tmp_path)
        same = [np.array_equal(after[study], before[study]) for study in before]
        assert replaced or all(same)  # that better weights change the next mask: test_server.py
        assert model_files(server, name) == [["model.pt"]] * 2

    kept = weights.read_bytes()
    with LabelServer(python, studies, bundle, app) as server:
        assert model_files(server, name) == [["model.pt"]] * 2
    assert weights.read_bytes() == kept


def check_run_folder(run, studies):
    """It is a bundle that can be used anywhere: no study and nothing of the server is in its config."""
    assert preflight_problems(run) == []
    config = (run / "configs" / "train.json").read_text()
    assert str(studies) not in config
    assert "CheckpointLoader" not in config
    assert json.loads(config)["promote"] is False


def check_promotion(log, weights, first, run):
    """Weights are replaced by better ones only, and the log has both scores; whether they were."""
    kept = re.search(r"The weights are kept: the new ones score ([\d.]+), those of \S+ ([\d.]+)\.", log)
    new = re.search(r"New weights in \S+: score ([\d.]+) \(before ([\d.]+)\)", log)
    told = kept or new
    assert told, log[-3000:]
    assert not (kept and new)
    print(told.group())
    after, before = map(float, told.groups())
    previous = list((weights.parent / "previous").glob("*.pt"))
    if kept:
        assert after <= before
        assert weights.read_bytes() == first
        assert not previous
    else:
        assert after >= before
        assert weights.read_bytes() == (run / "models" / "model.pt").read_bytes() != first
        assert [path.read_bytes() for path in previous] == [first]
    return bool(new)
