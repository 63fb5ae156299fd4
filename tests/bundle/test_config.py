"""The checks at the start of every run."""

import json

import pytest
from monai.bundle import ConfigParser
from transeg.bundle.config import (
    argument_faults,
    content,
    device_faults,
    given_texts,
    key_faults,
    known_keys,
    nearest,
    restore_paths,
    root_faults,
    running_parser,
    value_faults,
)
from transeg.bundle.package import find_bundles
from transeg.errors import ConfigError, root_cause

from .conftest import ROOT

TRAIN = {"epochs": 3, "resume": False, "learning_rate": 0.1, "image_size": [4, 4], "threshold": 0.5, "train": {}}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "train.json").write_text(json.dumps(TRAIN))
    (tmp_path / "configs" / "overlay.json").write_text('{"+handlers": [], "network_def#width": 3, "warp": 1}')
    return tmp_path


def test_every_config_of_a_bundle_knows_keys(root):
    assert known_keys(root) == {*TRAIN, "handlers", "network_def", "warp"}


def test_a_key_is_known_from_a_config_or_a_reference(root):
    parser = ConfigParser({**TRAIN, "warp": 2, "mine": 1, "used": "$@mine + 1", "_meta_": {}, "epoch": 3})
    assert key_faults(parser, root) == [
        "--used: no such key",
        "--epoch: no such key; did you mean epochs?",
    ]


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("resume", "false", "write True or False"),
        ("resume", "no", "write True or False"),
        ("resume", 0, "write True or False"),
        ("epochs", "abc", "a whole number is needed"),
        ("epochs", 2.5, "a whole number is needed"),
        ("epochs", True, "a whole number is needed"),
        ("epochs", 0, "must be at least 1"),
        ("epochs", -3, "must be at least 1"),
        ("learning_rate", "fast", "a number is needed"),
        ("learning_rate", 0, "must be above 0"),
        ("image_size", 64, "a list is needed, such as [4, 4]"),
        ("threshold", -0.5, "must be at least 0"),
        ("dataset_dir", 2024, "a path is needed, in quotes"),
    ],
)
def test_values_are_refused(key, value, fault, root):
    assert value_faults({**TRAIN, key: value}, root) == [f"--{key} {value}: {fault}"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resume", True),
        ("epochs", 1),
        ("epochs", "$2 * 3"),
        ("epochs", None),
        ("learning_rate", 1),
        ("image_size", (8, 8)),
    ],
)
def test_values_are_understood(key, value, root):
    assert value_faults({**TRAIN, key: value}, root) == []


@pytest.mark.parametrize(("typed", "read"), [("2024", 2024), ("a,b", ("a", "b")), ("1e3", 1000.0), ("True", True)])
def test_a_folder_may_have_any_name(typed, read, root):
    parser = ConfigParser({**TRAIN, "dataset_dir": read, "start": None, "epochs": 4, "seen": "$@dataset_dir + '/x'"})
    restore_paths(parser, ["run", "training", "--epochs", "4", "--dataset_dir", typed])
    assert content(parser)["epochs"] == 4
    assert parser.get_parsed_content("seen") == f"{typed}/x"
    assert value_faults(content(parser), root) == []


def test_arguments_are_read_in_both_spellings():
    arguments = ["run", "--a=1", "--b::c", "x,y", "--d-e", "--f", "2"]
    assert given_texts(arguments) == {"a": "1", "b#c": "x,y", "d-e": "--f", "f": "2"}


def test_arguments_that_nothing_takes_are_named():
    parser = ConfigParser(
        {
            "trainer": {"_target_": "transeg.engines.trainer.AlternatingTrainer", "max_epoch": 3, "decollate": False},
            "plain": {"_target_": "torch.nn.Linear", "in_features": 3, "out_feature": 2},
            "any": {"_target_": "dict", "anything": 3},
        }
    )
    assert argument_faults(parser) == [
        "trainer: transeg.engines.trainer.AlternatingTrainer takes no max_epoch; did you mean max_epochs?",
        "plain: torch.nn.Linear takes no out_feature; did you mean out_features?",
    ]


def test_the_parser_that_evaluates_is_found():
    parser = ConfigParser({"found": {"_target_": "transeg.bundle.config.running_parser"}})
    assert parser.get_parsed_content("found") is parser


def test_settings_are_literal_values_and_the_recipe():
    config = {
        "imports": ["$import transeg"],
        "epochs": 3,
        "mode": "fast",
        "many": [1, 2],
        "network": "$1 / 0",
        "data": [{}],
    }
    config |= {"recipe": "${'pixdim': 2.0}", "logged": {"_target_": "transeg.bundle.config.settings"}}
    expected = {"epochs": 3, "many": [1, 2], "mode": "fast", "pixdim": 2.0}
    assert ConfigParser(config).get_parsed_content("logged") == expected


def test_the_nearest_name_or_that_of_the_initials_is_advised():
    known = ["learning_rate", "epochs"]
    assert [nearest(name, known) for name in ("epoch", "lr", "xyz")] == [
        "; did you mean epochs?", "; did you mean learning_rate?", "",
    ]  # fmt: skip


def test_a_device_that_torch_cannot_use_is_refused():
    assert device_faults("cpu") == device_faults("$torch.device('cuda')") == device_faults(None) == []
    for device in ("cuda:99", "gpu"):
        [fault] = device_faults(device)
        assert fault.startswith(f"device is {device}, which torch cannot use here: ")
        assert "\n" not in fault


def test_outside_of_a_config_there_is_none():
    with pytest.raises(RuntimeError, match="not called while a config is evaluated"):
        running_parser()


def test_check_config_lists_every_fault(root):
    config = {"imports": ["$import transeg"], "bundle_root": str(root), **TRAIN, "epoch": 1, "epochs": 0}
    parser = ConfigParser({**config, "initialize": ["$transeg.bundle.config.check_config()"]})
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("initialize#0")
    cause = error.value
    while cause.__cause__ is not None:
        cause = cause.__cause__
    assert isinstance(cause, ConfigError)
    assert "--epoch: no such key; did you mean epochs?" in str(cause)
    assert "--epochs 0: must be at least 1" in str(cause)


def test_a_root_without_configs_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = ConfigParser()
    parser.read_config(str(find_bundles(ROOT / "bundles")[0] / "configs" / "inference.json"))
    with pytest.raises(RuntimeError) as error:  # by MONAI
        parser.get_parsed_content("initialize")
    assert "bundle_root is ., which has no configs" in str(root_cause(error.value))


@pytest.mark.parametrize("text", ["{}/configs/inference.json", "['{}/configs/inference.json','other/evaluate.json']"])
def test_a_copy_of_a_run_folder_does_not_use_the_weights_of_the_original(tmp_path, text):
    copy, original = tmp_path / "a copy, moved", tmp_path / "original"
    for folder in (copy, original):
        (folder / "configs").mkdir(parents=True)
    given = {"config_file": text.format(copy)}
    (fault,) = root_faults(original, given)
    assert fault.endswith(f"for its weights, add --bundle_root {copy}")
    assert root_faults(copy / ".." / copy.name, given) == []
    assert root_faults(original, {**given, "bundle_root": str(original)}) == []
    assert root_faults(original, {"config_file": "elsewhere/my.json"}) == []
