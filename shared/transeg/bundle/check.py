"""Check that the configs, names and weights of a bundle fit together.

`transeg verify` runs this file by its path in the folder of a bundle, in a process of its own, so that `transeg` is the
one in that folder if it holds one. Prints the problems, one a line.
"""

from __future__ import annotations

import ast
import contextlib
import pydoc
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from monai.bundle import ConfigComponent, ConfigParser, ReferenceResolver

from transeg.bundle.config import BASES, LOCATOR, config_files, walk

CHECKED = ("transeg", "monai", "torch")


def check() -> list[str]:
    """Problems of the bundle in the working directory; instantiates its `network_def`."""
    return config_problems(Path()) or _weights()


def config_problems(bundle: Path) -> list[str]:
    """Configs that cannot be read, and names and references in them that do not exist; evaluates none of them."""
    faults = []
    for file in config_files(bundle):
        path = file.relative_to(bundle)
        try:
            config = ConfigParser.load_config_file(file)
        except ValueError as error:
            faults.append(f"{path}: cannot be read ({_first_line(error)})")
            continue
        for key, value in walk(config):
            fault = _fault(key, value)
            if fault:
                faults.append(f"{path}: {key}: {fault}")
        if path.name in BASES:  # overlays may refer to what they are laid over
            faults += [f"{path}: {key}: no such key: @{name}" for key, name in _dangling(config)]
    return faults


def _fault(key: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return None
    if key.split("#")[-1] == "_target_":
        if value[:1] in "@$%":
            return None
        return _unknown(ConfigComponent({"_target_": value}, locator=LOCATOR).resolve_module_name(), value)
    if not value.startswith("$"):
        return None
    code = value[1:].replace("@", "").replace("#", "_").replace("::", "_")
    try:
        tree = ast.parse(code.strip())
    except SyntaxError as error:
        return f"not an expression ({error.msg}): {value}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            missing = [alias.name for alias in node.names if find_spec(alias.name.split(".")[0]) is None]
            if missing:
                return f"no package {missing[0]}; install it"
        elif isinstance(node, ast.Attribute) and (name := _dotted(node)):
            fault = _unknown(name, name) if name.split(".")[0] in CHECKED else None
            if fault:
                return fault
    return None


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (inner := _dotted(node.value)):
        return f"{inner}.{node.attr}"
    return None


def _unknown(name: str, shown: str) -> str | None:
    try:
        return None if pydoc.locate(name) is not None else f"no such name: {shown}"
    except pydoc.ErrorDuringImport as error:
        return f"{shown} cannot be imported ({_first_line(error.value)})"


def _dangling(config: dict) -> Iterator[tuple[str, str]]:
    parser = ConfigParser(config)
    for key, value in walk(parser.config):
        if isinstance(value, str):
            for name in ReferenceResolver.match_refs_pattern(value):
                if name not in parser:
                    yield key, name


def _weights() -> list[str]:
    from transeg.engines.weights import WeightsLoader
    from transeg.errors import root_cause

    parser = ConfigParser()
    try:
        parser.read_config("configs/inference.json")
        network = parser.get_parsed_content("network_def")
    except Exception as error:  # any error of the bundle's own code is the problem to report
        return [f"configs/inference.json: network_def cannot be made ({_first_line(root_cause(error))})"]
    try:
        WeightsLoader("models/model.pt", network)(Engine(lambda *_: None))
    except ValueError as error:
        return [_first_line(error)]
    return []


def foreign() -> list[str]:
    """Modules of transeg that the bundle lacks, so that those of an installed one were imported."""
    here = Path.cwd().resolve()
    ours = {name: module.__file__ or "" for name, module in sys.modules.items() if name.split(".")[0] == "transeg"}
    outside = [name for name, file in ours.items() if not Path(file).resolve().is_relative_to(here)]
    return [f"{name.replace('.', '/')}: missing from the bundle, which needs it" for name in sorted(outside)]


def _first_line(error: object) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        found = check() or foreign()
    print("\n".join(found))
