"""An option has the same help text in every command."""

import importlib
import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

from data_prep.options import names_of, record_options

COMMANDS = ("brats", "brats_slices", "brats_volumes", "lits", "thigh", "mmwhs", "mscmr", "cluttered_mnist")
DIFFERENT = {"size", "min_tumour"}  # of slices or of volumes


def options_of(command):
    prepare = importlib.import_module(f"data_prep.{command}").prepare
    hints = get_type_hints(prepare, include_extras=True)
    return {name: hints[name].__metadata__[0].help for name in inspect.signature(prepare).parameters}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    options = options_of(command)
    assert all(text and text.endswith(".") for text in options.values())
    assert {"data", "out", "seed"} <= set(options)


def test_the_same_option_has_the_same_help():
    texts = {}
    for command in COMMANDS:
        for name, text in options_of(command).items():
            texts.setdefault(name, set()).add(text)
    assert {name for name, found in texts.items() if len(found) > 1} <= DIFFERENT


def test_values_are_recorded_as_json_holds_them():
    assert record_options("brats", {"data": Path("a"), "seed": 1}) == {"command": "brats", "data": "a", "seed": 1}


def test_lists_with_commas():
    assert names_of(" a, b,,c ") == ["a", "b", "c"]
    assert names_of("") == []
