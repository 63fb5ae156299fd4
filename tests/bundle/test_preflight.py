"""What `transeg preflight` reports before a run."""

import json
import shutil

import numpy as np
import pytest
import transeg
from transeg.bundle.preflight import preflight_problems, read_overrides
from transeg.errors import ConfigError
from transeg.method import find_method
from typer.testing import CliRunner

from .conftest import change, recipe_of


def run(*arguments):
    from transeg.cli import app

    return CliRunner().invoke(app, ["preflight", *map(str, arguments)])


def lists_of(bundle):
    method = find_method(json.loads((bundle / "configs/metadata.json").read_text())["method"])
    return [(a, b) for a, b in method.lists_of(recipe_of(bundle)).items()]


@pytest.fixture
def ready(genseg, monkeypatch):
    """Copy of a bundle, which is the working directory."""
    monkeypatch.chdir(genseg)
    return genseg


@pytest.fixture
def own_data(data, tmp_path):
    """Data to change."""
    return shutil.copytree(data, tmp_path / "own data")


def test_each_bundle_is_ready_and_says_that_data_were_not_checked(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    result = run(".")
    assert result.exit_code == 0, result.output
    assert result.output == ".: ready; data not checked, give --dataset_dir\n"


def test_each_bundle_with_its_data_is_ready(bundle, data, monkeypatch):
    monkeypatch.chdir(bundle)
    result = run(".", "--dataset_dir", data, "--epochs", "3", "--batch_size=2", "--train#trainer#max_epochs=1")
    assert result.exit_code == 0, result.output
    assert ".: ready; a training step takes about " in result.output
    assert "free on cpu" in result.output or "free on cuda" in result.output


def test_from_elsewhere_the_bundle_root_is_told(bundle, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    faults = preflight_problems(bundle)
    assert faults == [] or [fault[:21] for fault in faults] == ["bundle_root would be "]  # a run folder knows its place
    assert preflight_problems(bundle, overrides={"bundle_root": str(bundle)}) == []


def test_data_for_another_method_or_on_another_grid(bundle, own_data):
    root = {"bundle_root": str(bundle)}
    recipe = recipe_of(bundle)
    datalist = own_data / "datalist.json"
    change(datalist, lambda c: c.update(recipe=recipe | {"pixdim": 1.25}))
    assert preflight_problems(bundle, own_data, root) == []  # training takes the recipe of the data
    [fault] = preflight_problems(bundle, own_data, root | {"pixdim": 1.5})
    assert fault.startswith(f"pixdim is 1.5 in the config, but 1.25 in {datalist}")
    change(datalist, lambda c: c.update(recipe=recipe | {"method": "another"}))
    [fault] = preflight_problems(bundle, own_data, root)
    assert "prepared for the method another" in fault


def test_what_the_method_reads_must_be_there(bundle, own_data, tmp_path):
    root = {"bundle_root": str(bundle)}
    assert "no such datalist" in preflight_problems(bundle, tmp_path / "none", root)[0]
    training, validation = lists_of(bundle)[0]
    original = (own_data / "datalist.json").read_text()
    change(own_data / "datalist.json", lambda c: c[validation][0].update(case=c[training][0]["case"]))
    [fault] = preflight_problems(bundle, own_data, root)
    assert fault == f"case {training} is in both {training} and {validation}"
    (own_data / "datalist.json").write_text(original)
    second, _ = lists_of(bundle)[1]
    change(own_data / "datalist.json", lambda c: c.update({second: []}))
    assert preflight_problems(bundle, own_data, root) == [f"{own_data / 'datalist.json'}: {second} is empty"]
    change(own_data / "datalist.json", lambda c: c.pop(second))
    assert f'no list "{second}"' in preflight_problems(bundle, own_data, root)[0]


def test_stacks_must_have_the_channels_and_size_of_the_recipe(bundle, own_data):
    root = {"bundle_root": str(bundle)}
    training, validation = (own_data / "images" / f"{name}.npy" for name in lists_of(bundle)[0])
    stack = np.load(training)
    np.save(training, np.concatenate([stack, stack], axis=1))
    np.save(validation, stack[:1, ..., :-1])
    first, *others = preflight_problems(bundle, own_data, root)
    channels = stack.shape[1]
    assert first == f"{training}: {2 * channels} channels, but {channels} in the recipe; set channels"
    assert len(others) == 2
    assert "by the recipe; prepare the data again" in others[0]
    assert "the datalist refers to slice 5 of 1" in others[1]


def test_misspelt_and_wrong_overrides(bundle, monkeypatch):
    monkeypatch.chdir(bundle)
    result = run(
        ".", "--epoch", "1", "--train::trainer::max_epoch", "2", "--save_mask", "no", "--epochs", "abc", "--seed", "-1"
    )
    assert result.exit_code == 1
    assert sorted(result.output.splitlines()) == [
        ".: --epoch: no such key; did you mean epochs?",
        ".: --epochs abc: a whole number is needed",
        ".: --save_mask no: write True or False",
        ".: --seed -1: must be at least 0",
        ".: --train#trainer#max_epoch: no such key; did you mean train#trainer#max_epochs?",
    ]


def test_overrides_are_read_as_monai_does():
    read = read_overrides(["--a", "1", "--b#c=[2]", "--d", "--train::x", "no"])
    assert read == {"a": 1, "b#c": [2], "d": "--train::x", "train#x": "no"}
    for stray in (["x", "--a", "1"], ["--a", "1", "x"], ["--a=1", "x"]):
        with pytest.raises(ConfigError, match="x: belongs to no option; write lists"):
            read_overrides(stray)


def test_an_overlay_that_the_run_will_get(ready):
    overlay = "configs/ablations/signed_code.json"
    files = ["configs/train.json", "configs/baselines/segmentation_only.json", overlay]
    [fault] = preflight_problems(ready, overrides={"config_file": files})
    assert fault == "network_def: transeg.methods.genseg.networks.BaselineNet takes no code_activation"
    assert preflight_problems(ready, overrides={"config_file": [files[0], overlay], "w_cycle": 3}) == []


def test_misspelt_config_keys_are_named_with_the_nearest(ready):
    change(ready / "configs/paper.json", lambda c: c.update(batchsize=3))
    (ready / "configs/ablations/extra.json").write_text('{"no_such#key": 1}')
    (ready / "configs/ablations/signed_code.json").write_text('{"network_def#code_activatio": false}')
    wrong_argument = "network_def: transeg.methods.genseg.networks.GenSegNet takes no"
    assert preflight_problems(ready) == [
        "configs/ablations/extra.json: changes keys that neither train.json nor inference.json has",
        f"configs/ablations/signed_code.json: {wrong_argument} code_activatio; did you mean code_activation?",
        "configs/paper.json: batchsize: unused key; did you mean batch_size?",
    ]
    change(ready / "configs/train.json", lambda c: c["network_def"].update(levls=3))
    assert preflight_problems(ready) == [f"configs/train.json: {wrong_argument} levls; did you mean levels?"]


def test_a_missing_package_and_a_wrong_folder_are_named(ready):
    packages = {"required_packages_version": {"nosuchpackage": "1.0"}}
    change(ready / "configs/metadata.json", lambda c: c.update(packages))
    assert preflight_problems(ready) == ["package nosuchpackage not found; install it (the bundle was made with 1.0)"]
    assert "give a bundle (bundles/NAME) or a run folder" in preflight_problems(ready / "configs")[0]


@pytest.mark.parametrize(("made", "fits"), [("0.1.0", False), ("1.2.0", False), (transeg.__version__ + ".1", True)])
def test_a_bundle_of_another_version_is_told(ready, made, fits):
    change(ready / "configs/metadata.json", lambda c: c["required_packages_version"].update(transeg=made))
    faults = preflight_problems(ready)
    assert fits == (not faults)
    assert fits or f"made with transeg {made}, this is {transeg.__version__}; install transeg {made}" in faults[0]


def test_a_bundle_of_no_method_is_told(ready):
    change(ready / "configs/metadata.json", lambda c: c.update(method="nothing"))
    assert "no method 'nothing'; there are " in preflight_problems(ready)[0]


def test_what_monai_label_lacks_is_told(ready):
    def unready(config):
        config["train"]["handlers"][0] = "@validation_handler"
        config["validation_handler"] = {"_target_": "StatsHandler"}

    def without_inferer(config):
        for part in ("inferer", "members", "uncertainty"):  # the others use it
            del config[part]
        del config["evaluator"]["inferer"]
        steps = [step for step in config["postprocessing"]["transforms"] if step not in ("@members", "@uncertainty")]
        config["postprocessing"]["transforms"] = steps[:-1]

    change(ready / "configs/train.json", unready)
    change(ready / "configs/inference.json", without_inferer)
    change(ready / "configs/metadata.json", lambda c: c["network_data_format"]["outputs"]["pred"].pop("channel_def"))
    (ready / "models/model.pt").unlink()
    faults = [fault for fault in preflight_problems(ready) if fault.endswith("(MONAI Label)")]
    assert [fault.split(": ")[1][:24] for fault in faults] == [
        "no inferer (MONAI Label)",
        "train#handlers is not a ",
        "network_data_format#outp",
        "no such file; train firs",
    ]
