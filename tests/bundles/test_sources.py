"""The configs in bundles/ are what their sources give, and two bundles differ only in what their methods say."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from monai.bundle import ConfigParser
from transeg import methods
from transeg.bundle.make import TEMPLATES, bundle_configs, bundle_texts
from transeg.method import find_method, method_names

from .conftest import BUNDLES

PAIRS = list(combinations(method_names(), 2))


def leaves(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested config that holds no other, in order, with "#" between the levels of its key."""
    if not isinstance(config, dict | list) or not config:
        yield key, config
        return
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield from leaves(value, f"{key}#{name}" if key else str(name))


def own_keys(method: str, config: str) -> set[str]:
    """Keys of a config that the `bundle.json` of a method sets, with all below them."""
    source = json.loads((Path(methods.__path__[0]) / method / "bundle.json").read_text())
    template = json.loads((TEMPLATES / f"{config}.json").read_text())
    keys = {"bundle_root", "recipe", *source.get("network", {})}  # bundle_root holds the name of the bundle
    for key, value in source.get(config, {}).items():
        if key.startswith("+") and key not in template:
            first = len(ConfigParser(template)[key[1:]])
            keys |= {f"{key[1:]}#{first + index}" for index in range(len(value))}
        else:
            keys |= set(value) if key.startswith("<") else {key.removeprefix("-")}
    return keys


class Comparison(NamedTuple):
    """Two bundles' configs of one name.

    Attributes:
        shared: leaves with the same key and value in both.
        own: leaves of the first, then of the second, that the other has not, or with another value.
        lines: of a unified diff of the files, without its headers.
        unexplained: differing leaves that neither method's `bundle.json` sets.
    """

    shared: int
    own: tuple[int, int]
    lines: int
    unexplained: list[str]


def compare(first: str, second: str, config: str) -> Comparison:
    """Compare the configs of two methods' bundles; the order of keys counts."""
    folders = [BUNDLES / find_method(method).bundle / "configs" for method in (first, second)]
    texts = [(folder / f"{config}.json").read_text() for folder in folders]
    rows = [[f"{key} = {json.dumps(value)}" for key, value in leaves(json.loads(text))] for text in texts]
    changes = changed(*rows)
    keys = own_keys(first, config) | own_keys(second, config)
    removed, added = (sum(row[0] == sign for row in changes) for sign in "-+")
    return Comparison(
        shared=len(rows[0]) - removed,
        own=(removed, added),
        lines=len(changed(*(text.splitlines() for text in texts))),
        unexplained=[row for row in changes if not is_below(row[1:].partition(" = ")[0], keys)],
    )


def changed(first: list[str], second: list[str]) -> list[str]:
    """Lines of a unified diff that are in one text alone, with their sign."""
    _, _, *lines = [*difflib.unified_diff(first, second, n=0, lineterm="")] or ["", ""]
    return [line for line in lines if not line.startswith("@@ ")]


def is_below(key: str, keys: set[str]) -> bool:
    """Whether a key, or one that it lies in, is among others."""
    parts = key.split("#")
    return any("#".join(parts[:count]) in keys for count in range(1, len(parts) + 1))


def report(config: str) -> str:
    """What every two bundles share in a config."""
    rows = [f"{config}.json: leaves shared, own of the first, of the second, lines of a diff"]
    for first, second in PAIRS:
        found = compare(first, second, config)
        rows.append(f"{first:10}{second:10}{found.shared:6}{found.own[0]:6}{found.own[1]:6}{found.lines:6}")
    return "\n".join(rows)


@pytest.mark.parametrize("method", method_names())
def test_configs_are_those_of_the_sources(method):
    folder = BUNDLES / find_method(method).bundle
    for path, text in bundle_texts(method).items():
        assert (folder / path).read_text() == text, f"{path} of {folder.name}: run `transeg make`"


@pytest.mark.parametrize("method", method_names())
def test_what_a_method_does_not_set_is_that_of_the_template(method):
    for name, config in bundle_configs(method).items():
        if name == "metadata":
            continue
        keys = own_keys(method, name)
        text = (TEMPLATES / f"{name}.json").read_text()
        template = [leaf for leaf in leaves(json.loads(text)) if leaf[0][0] != "<" and not is_below(leaf[0], keys)]
        assert [leaf for leaf in leaves(config) if not is_below(leaf[0], keys)] == template


@pytest.mark.parametrize("config", ["train", "inference", "evaluate"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_shared_keys_have_one_order(first, second, config):
    a, b = (list(bundle_configs(method)[config]) for method in (first, second))
    assert [key for key in a if key in b] == [key for key in b if key in a]


@pytest.mark.parametrize("config", ["train", "inference", "evaluate"])
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_bundles_differ_in_what_their_methods_set(first, second, config):
    found = compare(first, second, config)
    assert not found.unexplained
    assert found.shared > 0


@pytest.mark.parametrize("config", ["train", "inference", "evaluate"])
def test_report(config):
    print(report(config))


def test_a_difference_that_no_method_sets_is_found(tmp_path, monkeypatch):
    first, second = PAIRS[0]
    for method in (first, second):
        folder = tmp_path / find_method(method).bundle / "configs"
        folder.mkdir(parents=True)
        config = bundle_configs(method)["train"]
        if method == first:
            config["seed"] = 1
        (folder / "train.json").write_text(json.dumps(config))
    monkeypatch.setattr(f"{__name__}.BUNDLES", tmp_path)
    assert compare(first, second, "train").unexplained == ["-seed = 1", "+seed = 0"]
