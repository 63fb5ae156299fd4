"""What `transeg preflight` tells before a run."""

import json
import shutil

import numpy as np
import pytest
from monai.bundle import ConfigParser
from transeg.bundle.memory import step_memory, training_memory
from transeg.bundle.preflight import preflight_problems
from transeg.data.datalist import write_datalist, write_stack
from typer.testing import CliRunner


@pytest.fixture
def ready(bundle, tmp_path, monkeypatch):
    """Copy of a bundle, which is the working directory."""
    folder = shutil.copytree(bundle, tmp_path / bundle.name)
    monkeypatch.chdir(folder)
    return folder


def change(path, edit):
    config = json.loads(path.read_text())
    edit(config)
    path.write_text(json.dumps(config))


def prepared(folder, channels=4, slices=3, size=(60, 120), **lists):
    full = {}
    for name in ("training", "training_absence", "validation", "validation_absence"):
        image = np.zeros((2, channels, *size), np.float16)
        write_stack(folder / f"{name}.npy", [image] * 2, (4, channels, *size), "f2")
        full[name] = [{"image": f"{name}.npy", "index": k, "case": name} for k in range(slices)]
    recipe = {"method": "genseg", "channels": ["FLAIR", "T1c", "T1", "T2"], "labels": ["background", "tumour"]}
    about = {"name": "zeros", "description": "Zeros.", "recipe": recipe, "preparation": {}}
    write_datalist(folder / "datalist.json", full | lists, **about)
    return folder


def test_a_good_bundle_with_good_data_is_ready(ready, tmp_path):
    from transeg.cli import app

    data = prepared(tmp_path / "data")
    command = ["preflight", ".", "--dataset_dir", str(data), "--epochs", "3", "--train#trainer#max_epochs=1"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(".: ready; a training step takes about ")
    assert "free on cpu" in result.output or "free on cuda" in result.output


def memory(bundle, data, **settings):
    return training_memory(str(bundle / "configs/train.json"), {"dataset_dir": str(data), **settings})


def test_a_step_that_does_not_fit_is_told(ready, tmp_path, monkeypatch):
    data = prepared(tmp_path / "data", size=(60, 120))
    monkeypatch.setattr("transeg.bundle.memory.free_memory", lambda device: 2**26)
    assert not memory(ready, data, batch_size=2)[1]
    [problem] = memory(ready, data, batch_size=40, device="$torch.device('cuda')")[1]
    assert "64 MiB are free on cuda: lower batch_size or width" in problem


def test_the_memory_of_a_step_grows_with_the_batch(ready, tmp_path):
    """By hand: weights and gradients are the parameters', AMSGrad keeps three more values and a count of steps."""
    data = prepared(tmp_path / "data", size=(60, 120))

    def estimate(size):
        train = ConfigParser()
        train.read_config(ready / "configs/train.json")
        train.update({"dataset_dir": str(data), "batch_size": size})
        return step_memory(train), train.get_parsed_content("players")

    (small, players), (large, _) = estimate(2), estimate(12)
    parameters = [p for player in players for p in player.parameters]
    values = sum(p.numel() for p in parameters)
    assert small.training == 4 * (4 * values + len(parameters))
    assert 4 * values <= small.weights < 4.2 * values
    assert 4 < large.activations / small.activations < 6
    assert large.activations - small.activations > 10 * 2 * 4 * 60 * 120 * 4  # ten times the images of both domains


def test_a_step_that_fails_is_told(ready, tmp_path):
    data = prepared(tmp_path / "data", size=(7, 9))
    [problem] = memory(ready, data)[1]
    assert problem.startswith("a training step on the first sample fails (")


def test_misspelt_overrides_are_named_with_the_nearest_key(ready):
    from transeg.cli import app

    result = CliRunner().invoke(app, ["preflight", ".", "--epoch", "1", "--train::trainer::max_epoch", "2"])
    assert result.exit_code == 1
    assert result.output.splitlines() == [
        ".: --epoch: no such key; did you mean epochs?",
        ".: --train#trainer#max_epoch: no such key; did you mean train#trainer#max_epochs?",
    ]


def test_misspelt_config_keys_are_named_with_the_nearest(ready):
    change(ready / "configs/paper.json", lambda c: c.update(batchsize=3))
    (ready / "configs/ablations/extra.json").write_text('{"no_such#key": 1}')
    (ready / "configs/ablations/signed_code.json").write_text('{"network_def#code_activatio": false}')
    wrong_argument = "network_def: transeg.methods.genseg.networks.GenSegNet takes no"
    assert preflight_problems(ready) == [
        "configs/ablations/extra.json: changes keys that neither train.json nor inference.json has",
        f"configs/ablations/signed_code.json: {wrong_argument} code_activatio; did you mean code_activation?",
        "configs/paper.json: batchsize: nothing uses it; did you mean batch_size?",
    ]
    change(ready / "configs/train.json", lambda c: c["network_def"].update(levls=3))
    assert preflight_problems(ready) == [f"configs/train.json: {wrong_argument} levls; did you mean levels?"]


def test_a_missing_package_and_a_wrong_folder_are_named(ready, tmp_path):
    packages = {"required_packages_version": {"nosuchpackage": "1.0"}}
    change(ready / "configs/metadata.json", lambda c: c.update(packages))
    assert preflight_problems(ready) == ["no package nosuchpackage; install it (the bundle was made with 1.0)"]
    assert "give the folder of a bundle" in preflight_problems(ready / "configs")[0]


def test_a_wrong_bundle_root_is_told(ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [fault[:21] for fault in preflight_problems(ready)] == ["bundle_root would be "]
    assert preflight_problems(ready, overrides=["bundle_root"]) == []


def test_faults_of_the_data_are_told(ready, tmp_path):
    assert "no such datalist" in preflight_problems(ready, tmp_path / "none")[0]
    leak = [{"image": "validation.npy", "index": 0, "case": "training"}]
    data = prepared(tmp_path / "leak", validation=leak, training_absence=[])
    assert preflight_problems(ready, data) == [
        "case training is in both training and validation",
        f"{data / 'datalist.json'}: training_absence is empty",
    ]
    faults = preflight_problems(ready, prepared(tmp_path / "two", channels=2))
    assert len(faults) == 4
    assert "2 channels; the config has 4" in faults[0]
    faults = preflight_problems(ready, prepared(tmp_path / "long", slices=5))
    assert "asks for slice 4 of 4" in faults[0]


def test_what_monai_label_lacks_is_told(ready):
    def unready(config):
        config["train"]["handlers"][0] = "@validation_handler"
        config["validation_handler"] = {"_target_": "StatsHandler"}

    change(ready / "configs/train.json", unready)
    change(ready / "configs/inference.json", lambda c: c.pop("inferer") and c["evaluator"].pop("inferer"))
    change(ready / "configs/inference.json", lambda c: c["postprocessing"]["transforms"].pop())
    change(ready / "configs/metadata.json", lambda c: c["network_data_format"]["outputs"]["pred"].pop("channel_def"))
    (ready / "models/model.pt").unlink()
    faults = [fault for fault in preflight_problems(ready) if fault.endswith("(MONAI Label)")]
    assert [fault.split(": ")[1][:24] for fault in faults] == [
        "no inferer (MONAI Label)",
        "train#handlers is not a ",
        "network_data_format#outp",
        "no such file; inference ",
    ]
