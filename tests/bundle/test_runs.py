"""Run folders: what refuses to begin, and what the folder of a training run holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanSquaredError, from_engine
from torch import nn
from transeg.bundle import runs
from transeg.bundle.runs import RunFolder, bundle_name, check_run, method_of, new_run_dir, run_metadata, shared_facts
from transeg.errors import RunError
from transeg.files import digest_of_reference

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
GENSEG, THIGH = (BUNDLES / name for name in ("brain_mri_genseg_segmentation", "thigh_mri_muscle_segmentation"))


class Evaluated(ConfigParser):
    """Calls a function as a config that is being evaluated would."""

    def call(self, function):
        return function()


def check(run_dir: str | None = None, root: Path = GENSEG, **options) -> None:
    Evaluated({"run_dir": run_dir or "$new"}).call(lambda: check_run(root, **options))


@pytest.fixture
def finished(tmp_path) -> Path:
    """A run folder as a training run leaves it."""
    folder = tmp_path / "finished"
    shutil.copytree(GENSEG / "configs", folder / "configs")
    (folder / "models").mkdir()
    shutil.copy(GENSEG / "models" / "model.pt", folder / "models")
    (folder / "train_state.pt").write_bytes(b"state")
    return folder


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path):
    check(str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    check(str(tmp_path / "empty"))
    assert not list((tmp_path / "empty").iterdir())


def test_what_ended_before_its_first_epoch_is_not_offered_to_be_resumed(finished):
    (finished / "train_state.pt").unlink()
    with pytest.raises(RunError, match="is not empty; name a new folder or delete it"):
        check(str(finished))


def test_what_cannot_begin_is_refused(tmp_path, finished, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    before = sorted(path.name for path in finished.rglob("*"))
    for options, message in (
        ({"run_dir": str(finished)}, "is not empty; name a new folder, or resume its run by --resume True"),
        ({"run_dir": str(tmp_path / "file")}, "is a file; name a new folder"),
        ({"run_dir": str(tmp_path / "empty"), "resume": True}, "train_state.pt: no such file"),
        ({"run_dir": str(finished), "resume": True, "root": THIGH}, "is a run of the method genseg, not of thigh"),
        ({"resume": True}, "name the run folder to go on with by --run_dir"),
        ({"start": str(tmp_path)}, "no such file; name a bundle or run folder that has weights"),
        ({"start": str(THIGH)}, "holds weights of the method thigh, this run is of genseg"),
    ):
        with pytest.raises(RunError, match=message):
            check(**options)
    assert sorted(path.name for path in finished.rglob("*")) == before
    check(str(finished), resume=True)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(runs, "atomic", refuse)
    with pytest.raises(RunError, match=r"cannot write to .*Permission denied"):
        check(str(tmp_path / "new"))


def test_lost_configs_are_told(finished):
    shutil.rmtree(finished / "configs")
    with pytest.raises(RunError, match="has lost its configs; start a new run with --start"):
        check(str(finished), resume=True)


def test_a_bundle_of_an_older_version_is_told(finished):
    path = finished / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    del metadata["method"]
    path.write_text(json.dumps(metadata))
    with pytest.raises(RunError, match="a bundle of an older version needs that version"):
        method_of(finished)
    with pytest.raises(RunError, match="a bundle of an older version needs that version"):
        check(start=str(finished))


def test_the_latest_run_is_named(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    latest = Path("runs", GENSEG.name, "2026-01-02_03-04-05")
    shutil.copytree(finished, latest)
    with pytest.raises(RunError, match=f"the latest is {latest}"):
        check(resume=True)


def test_new_folders_have_different_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = Path(new_run_dir(GENSEG))
    assert first.parts[:2] == ("runs", GENSEG.name)
    first.mkdir(parents=True)
    assert Path(new_run_dir(GENSEG)) != first


def test_facts_are_the_network_and_what_it_refers_to():
    config = {
        "network_def": {"_target_": "UNet", "in_channels": "$len(@channels)", "features": "@widths"},
        "channels": "$@recipe['channels']",
        "recipe": {"_target_": "load"},
        "widths": "$[2 * @width]",
        "width": 4,
        "epochs": 3,
    }
    assert sorted(shared_facts(config)) == ["channels", "network_def", "width", "widths"]


def test_metadata_describe_the_channels_and_labels_of_the_data():
    metadata = json.loads((GENSEG / "configs" / "metadata.json").read_text())
    made = run_metadata(metadata, {"channels": ["PD"], "labels": ["background", "cyst", "bone"]}, "knees")
    image, pred = (made["network_data_format"][side][key] for side, key in (("inputs", "image"), ("outputs", "pred")))
    assert (image["num_channels"], image["channel_def"]) == (1, {"0": "PD"})
    assert pred["channel_def"] == {"0": "background", "1": "cyst", "2": "bone"}
    assert made["bundle"] == "knees"
    assert (made["task"], made["label_classes"]) == ("Segmentation of cyst, bone in PD", "0 background, 1 cyst, 2 bone")
    texts = {key: value for key, value in made.items() if isinstance(value, str) and key != "intended_use"}
    assert not [key for key, value in texts.items() if "brain" in value or "tumour" in value or "phantom" in value]
    assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == 3


def test_a_run_folder_knows_its_bundle(tmp_path):
    (tmp_path / "run" / "configs").mkdir(parents=True)
    (tmp_path / "run" / "configs" / "metadata.json").write_text('{"bundle": "knees"}')
    assert bundle_name(tmp_path / "run") == "knees"
    assert bundle_name(tmp_path) == tmp_path.name


def validator(network: nn.Module) -> SupervisedEvaluator:
    """Its key metric is the square of the only weight of the network."""
    data = [{"image": torch.ones(1, 1), "label": torch.zeros(1, 1)}]
    metric = {"square": MeanSquaredError(output_transform=from_engine(["pred", "label"]))}
    return SupervisedEvaluator("cpu", data, network, key_val_metric=metric, decollate=False)


def folder(tmp_path, weights: dict[str, float], **options):
    """A `RunFolder` beside a bundle with weights 1, its own weights as given."""
    root, path = tmp_path / "bundle", tmp_path / "run"
    for place, value in ((root, 1.0), (path, weights["run"])):
        (place / "models").mkdir(parents=True)
        torch.save({"weight": torch.full((1, 1), value)}, place / "models" / "model.pt")
    network = nn.Linear(1, 1, bias=False)
    config = {"network_def": {"_target_": "torch.nn.Linear"}}
    made = Evaluated(config).call(
        lambda: RunFolder(path, root, network, {"method": "toy"}, validator=validator(network), **options)
    )
    return made, network


def test_hashes_of_the_scans_of_a_run(tmp_path):
    """Of prepared data, which the preparation has hashed, or of studies that the config lists."""
    listed = {"training_volumes": [{"image": "gone.nii", "case": "a"}], "preparation": {"sha256": {"a": ["hash of a"]}}}
    (tmp_path / "datalist.json").write_text(json.dumps(listed))
    made, _ = folder(tmp_path, {"run": 1.0})
    made.config |= {"dataset_dir": str(tmp_path), "train": {"dataset": {"data": "@presence"}}}
    assert made._cases() == {"training": ["hash of a"]}
    (tmp_path / "study.nii").write_text("x")
    study = {"image": str(tmp_path / "study.nii"), "label": "y.nii"}
    made.config |= {"train": {"dataset": {"data": [study]}}, "validate": {"dataset": {"data": []}}}
    assert made._cases() == {"training": [digest_of_reference(tmp_path / "study.nii")]}


@pytest.mark.parametrize(("value", "replaced"), [(2.0, True), (0.5, False), (1.0, False)])
def test_weights_are_promoted_only_if_they_are_better(value, replaced, tmp_path, caplog):
    made, network = folder(tmp_path, {"run": value}, promote=True)
    before = network.weight.detach().clone()
    target = tmp_path / "bundle" / "models" / "model.pt"
    made._before = made._score(target)
    with caplog.at_level("INFO"):
        made._promote()
    assert float(torch.load(target, weights_only=True)["weight"]) == (value if replaced else 1.0)
    kept = list((tmp_path / "bundle" / "models" / "previous").glob("*.pt"))
    assert len(kept) == replaced
    assert ("New weights" if replaced else "The weights are kept") in caplog.text
    assert torch.equal(network.weight, before)  # scoring leaves the network as it was


def test_without_validation_data_nothing_is_replaced(tmp_path, caplog):
    made, _ = folder(tmp_path, {"run": 2.0}, promote=True)
    made.validator.data_loader = []
    made._promote()
    assert "no validation data to score" in caplog.text
    assert float(torch.load(tmp_path / "bundle" / "models" / "model.pt", weights_only=True)["weight"]) == 1.0


def test_a_run_that_needs_weights_to_begin_from(tmp_path):
    with pytest.raises(RunError, match="name its run folder by --start"):
        folder(tmp_path, {"run": 1.0}, start_required=True)
