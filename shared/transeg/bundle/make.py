"""`transeg make`: the configs of a bundle, from the templates that all share and what its method differs in.

A method's `bundle.json` has a section for each config. In a section, a key in angle brackets fills the place of that
name in the template, one that begins with "-" is left out, and any other, with "#" between levels, gets a new value or,
after "+", more of it. `familiarity.json` beside it tells what the training scans of the released weights are like; it
becomes part of the recipe.
"""

from __future__ import annotations

import copy
import json
import shutil
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

from transeg import methods
from transeg.bundle.config import content
from transeg.bundle.runs import describe_channels
from transeg.errors import ConfigError
from transeg.files import atomic
from transeg.method import find_method, method_names

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 120


def make(
    names: Annotated[list[str] | None, typer.Argument(help="Methods (default: all).")] = None,
    bundles: Annotated[Path, typer.Option(help="Folder of the bundles.")] = Path("bundles"),
    check: Annotated[bool, typer.Option("--check", help="Only report configs that differ, exit status 1.")] = False,
) -> None:
    """Write the configs that all bundles share in form: training, inference, evaluation, metadata."""
    stale = []
    for name in names or method_names():
        folder = bundles / find_method(name).bundle
        for path, text in bundle_texts(name).items():
            target = folder / path
            if target.is_file() and target.read_text() == text:
                continue
            stale.append(target)
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                with atomic(target) as partial:
                    partial.write_text(text)
        if not check and not (folder / "LICENSE").is_file():
            shutil.copyfile(TEMPLATES / "LICENSE", folder / "LICENSE")
    for target in stale:
        typer.echo(f"{target}: {'differs from its source; run `transeg make`' if check else 'written'}")
    if check and stale:
        raise typer.Exit(1)


def bundle_texts(method: str) -> dict[str, str]:
    """Text of every generated file of a method's bundle, by its path in the bundle."""
    texts = {f"configs/{name}.json": format_config(config) + "\n" for name, config in bundle_configs(method).items()}
    return texts | {"configs/logging.conf": (TEMPLATES / "logging.conf").read_text()}


def bundle_configs(method: str) -> dict[str, dict[str, Any]]:
    """The generated configs of a method's bundle by name.

    Raises:
        ConfigError: no `bundle.json`, or it changes what no template has.
    """
    path = Path(methods.__path__[0]) / method / "bundle.json"
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; it says in what the bundle of the method differs")
    source = json.loads(path.read_text())
    source["recipe"] |= _familiarity(path.with_name("familiarity.json"))
    words = {"{bundle}": find_method(method).bundle, "{method}": method}
    configs = {}
    for template in sorted(TEMPLATES.glob("*.json")):
        name = template.stem
        section = {"<network>": source.get("network", {})} if name in ("train", "inference") else {}
        section |= {"recipe": source["recipe"]} if name == "inference" else {}
        text = template.read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        configs[name] = filled(json.loads(text), section | source.get(name, {}), f"{path}: {name}")
    describe_channels(configs["metadata"], source["recipe"])
    return configs


def _familiarity(path: Path) -> dict[str, Any]:
    """What the recipe of released weights says about the scans that they were trained on, if known."""
    return {"familiarity": json.loads(path.read_text())} if path.is_file() else {}


def filled(template: Mapping[str, Any], section: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A template with its places filled and its values changed.

    Raises:
        ConfigError: a place or key that the template does not have.
    """
    config: dict[str, Any] = {}
    for key, value in template.items():
        config |= copy.deepcopy(section.get(key, {}) if key.startswith("<") else {key: value})
    parser = ConfigParser(config)
    for key, value in section.items():
        name = key.removeprefix("-")
        target = name.removeprefix("+")
        parent = target.rpartition("#")[0] or target
        if key not in template and (name[0] == "<" or not (name in config or parent in parser)):
            raise ConfigError(f"{where}: the template has no {name}; put what is new into one of its <places>")
        if key.startswith("-"):
            del content(parser)[name]
        elif name in config:  # overlays have "#" in the names of their own keys
            content(parser)[name] = copy.deepcopy(value)
        elif name[0] != "<":
            merge_kv(parser, name, copy.deepcopy(value))
    return content(parser)


def format_config(value: Any, indent: int = 0, prefix: int = 0) -> str:
    """JSON in which what fits on a line is on one line, as a person would write it.

    Args:
        value: the config.
        indent: of the line that it begins on.
        prefix: characters before it on this line.
    """
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return short
    if indent and indent + prefix + len(short) + 1 <= WIDTH and "\n" not in short and not _is_long(value):
        return short
    inner = indent + 4
    if isinstance(value, list) and all(isinstance(part, int | float) for part in value):
        lines = textwrap.wrap(short[1:-1], WIDTH, initial_indent=" " * inner, subsequent_indent=" " * inner)
        return "\n".join(["[", *lines, " " * indent + "]"])
    if isinstance(value, dict):
        lines = [f"{json.dumps(k)}: {format_config(v, inner, len(json.dumps(k)) + 2)}" for k, v in value.items()]
    else:
        lines = [format_config(v, inner) for v in value]
    pad = " " * inner
    opening, closing = ("{", "}") if isinstance(value, dict) else ("[", "]")
    return opening + "\n" + ",\n".join(pad + line for line in lines) + "\n" + " " * indent + closing


def _is_long(value: Any) -> bool:
    """Whether a value is better read over several lines: components inside of it."""
    parts = value.values() if isinstance(value, dict) else value
    return any(isinstance(part, dict) and "_target_" in part for part in parts) and len(parts) > 1
