"""Configs from a template and what a method differs in."""

import json

import pytest
from transeg.bundle.make import filled, format_config, make
from transeg.errors import ConfigError

TEMPLATE = {"epochs": 1, "<settings>": None, "train": {"handlers": [1], "lr": 0.1}, "absence": 2, "a#b": 3}


def test_places_are_filled_and_values_changed_in_order():
    section = {
        "train#lr": 0.2,
        "<settings>": {"width": 4},
        "epochs": 3,
        "-absence": "why",
        "+train#handlers": [2],
        "a#b": 5,
    }
    config = filled(TEMPLATE, section, "toy")
    assert config == {"epochs": 3, "width": 4, "train": {"handlers": [1, 2], "lr": 0.2}, "a#b": 5}
    assert list(config) == ["epochs", "width", "train", "a#b"]
    assert TEMPLATE["train"] == {"handlers": [1], "lr": 0.1}


def test_what_a_section_leaves_open_is_empty():
    assert filled(TEMPLATE, {}, "toy") == {key: value for key, value in TEMPLATE.items() if key != "<settings>"}


@pytest.mark.parametrize("key", ["<nowhere>", "epoch", "train#optimizer#lr", "-epoch", "validate#lr"])
def test_what_the_template_does_not_have_is_named(key):
    with pytest.raises(ConfigError, match=f"toy: the template has no {key.removeprefix('-')}; put what is new into"):
        filled(TEMPLATE, {key: 1}, "toy")


def test_what_fits_on_a_line_is_on_one():
    value = {"_target_": "x", "keys": ["image", "label"]}
    long = {"_target_": "x" * 60, "keys": ["image"] * 9}
    config = {"short": value, "long": long, "several": [value, value], "empty": []}
    text = format_config(config)
    assert json.loads(text) == config
    assert all(len(line) <= 120 for line in text.splitlines())
    assert '    "short": {"_target_": "x", "keys": ["image", "label"]},' in text.splitlines()
    assert '    "empty": []' in text.splitlines()
    assert text.count("\n") == 11


def test_check_reports_without_writing(tmp_path, capsys):
    make(["thigh"], bundles=tmp_path)
    folder = tmp_path / "thigh_mri_muscle_segmentation"
    assert (folder / "LICENSE").is_file()
    make(["thigh"], bundles=tmp_path, check=True)
    path = folder / "configs" / "train.json"
    path.write_text(path.read_text().replace('"epochs": 10', '"epochs": 11'))
    capsys.readouterr()
    with pytest.raises(Exception) as ended:  # noqa: PT011 (typer's way to end a command)
        make(["thigh"], bundles=tmp_path, check=True)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().out == f"{path}: differs from its source; run `transeg make`\n"
    assert '"epochs": 11' in path.read_text()
