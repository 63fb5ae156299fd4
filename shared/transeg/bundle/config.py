"""The config that is being run: how its parts reach it, and the checks at the start of every run."""

from __future__ import annotations

import inspect
import json
import os
import pydoc
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import torch
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ReferenceResolver

import transeg
from transeg import error_hook
from transeg.errors import ConfigError

BASES = ("train.json", "inference.json")  # configs that stand alone; all others lie over one of them
# options of MONAI's `run`, and what its tracking adds
RUN_OPTIONS = {
    "_meta_", "args_file", "config_file", "experiment_name", "final_id", "init_id", "is_not_rank0", "logging_file",
    "meta_file", "run_id", "run_name", "save_execute_config", "tracking", "tracking_uri",
}  # fmt: skip
# lowest value of settings that all bundles know by this name; None: above 0
LIMITS: Mapping[str, float | None] = {
    "epochs": 1, "batches_per_epoch": 1, "batch_size": 1, "val_batch_size": 1, "labelled_per_batch": 0, "seed": 0,
    "num_workers": 0, "val_interval": 0, "width": 1, "levels": 1, "blocks": 0, "learning_rate": None, "pixdim": None,
    "threshold": 0, "samples": 1, "tile": 2, "patience": 1, "tta": 0, "temperature": None,
}  # fmt: skip
PATHS = ("bundle_root", "dataset_dir", "output_dir", "run_dir", "start")
LOCATOR = ComponentLocator()


def running_parser() -> ConfigParser:
    """The parser whose content is being evaluated.

    MONAI hands the parts of a config nothing of the config itself, so it is found on the call stack.

    Raises:
        RuntimeError: not called from a config.
    """
    frame = inspect.currentframe()
    while frame is not None:
        parser = frame.f_locals.get("self")
        if isinstance(parser, ConfigParser):
            return parser
        frame = frame.f_back
    raise RuntimeError("not called while a config is evaluated")


def content(parser: ConfigParser) -> dict[str, Any]:
    """The config that a parser holds; MONAI types it as anything that a config can be made of."""
    return cast(dict[str, Any], parser.config)


def check_config() -> None:
    """Refuse a run whose config cannot be meant: the first entry of `initialize` in every bundle.

    Under MONAI's command line, errors from here on end with their reason as the last line.

    Raises:
        ConfigError: unknown keys, values of the wrong type or out of range, arguments that a component does not take,
            or a bundle made with another version; all of them at once.
    """
    error_hook.install()
    parser = running_parser()
    restore_paths(parser, sys.argv[1:])
    root = Path(parser.get_parsed_content("bundle_root"))
    if not config_files(root):
        raise ConfigError(
            f"bundle_root is {root}, which has no configs; run from the root of the repository or the bundle's folder, "
            "or add --bundle_root with the folder of the bundle"
        )
    faults = root_faults(root, given_texts(sys.argv[1:]))
    faults += key_faults(parser, root) + value_faults(content(parser), root) + argument_faults(parser)
    faults += device_faults(content(parser).get("device"))
    if faults:
        raise ConfigError("; ".join(faults))


def root_faults(root: Path, given: Mapping[str, str]) -> list[str]:
    """What is wrong with a root that was not asked for: a run folder that was copied would use the earlier weights.

    Args:
        root: folder whose weights and data are used.
        given: texts by key of the command line.
    """
    text = given.get("config_file", "")
    files = re.findall(r"['\"]([^'\"]+)['\"]", text) or [text]
    places = [Path(file) for file in files]
    own = [p.parent.parent for p in places if p.parent.name == "configs" and p.stem in ("train", "inference")]
    if "bundle_root" in given or not own or not own[0].is_dir() or own[0].resolve() == root.resolve():
        return []
    return [f"bundle_root is {root}, but the configs are of {own[0]}; for its weights, add --bundle_root {own[0]}"]


def device_faults(device: Any) -> list[str]:
    """What is wrong with a device that is named rather than chosen by an expression."""
    if not isinstance(device, str) or device.startswith(("$", "@")):
        return []
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        return [f"device is {device}, which torch cannot use here: {str(error).splitlines()[0]}"]
    return []


def given_texts(arguments: Sequence[str]) -> dict[str, str]:
    """Texts by key of `--key value` and `--key=value`, in the spelling of MONAI's command line; "#" between levels."""
    found: dict[str, str] = {}
    for index, argument in enumerate(arguments):
        if argument.startswith("--"):
            key, given, value = argument[2:].partition("=")
            after = arguments[index + 1 : index + 2]
            name = ReferenceResolver.normalize_id(key).replace("::", "#")
            found[name] = value if given else (after[0] if after else "True")
    return found


def restore_paths(parser: ConfigParser, arguments: Sequence[str]) -> None:
    """Set paths that MONAI's command line read as something else to what was typed: `2024`, `a,b`."""
    typed = given_texts(arguments)
    misread = {key: typed[key] for key in PATHS if key in typed and not _is_path(content(parser).get(key))}
    if misread:
        parser.update(misread)


def _is_path(value: Any) -> bool:
    """Whether a value is a path, none, or a component that makes one."""
    return value is None or isinstance(value, str | os.PathLike | Mapping)


def walk(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a nested config, with "#" between levels, and its value."""
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        inner = f"{key}#{name}" if key else str(name)
        yield inner, value
        if isinstance(value, (dict, list)):
            yield from walk(value, inner)


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for a misspelt name, or the initials of one; empty if nothing is close."""
    names = [*known]
    close = get_close_matches(name, names, n=1) or [key for key in names if _initials(key) == name]
    return f"; did you mean {close[0]}?" if close else ""


def _initials(key: str) -> str:
    return "".join(word[:1] for word in key.split("_"))


def config_files(bundle: Path) -> list[Path]:
    """Every config of a bundle."""
    return sorted(path for path in (bundle / "configs").rglob("*") if path.suffix in (".json", ".yaml", ".yml"))


def known_keys(bundle: Path) -> set[str]:
    """Top-level keys of all configs of a bundle, metadata apart."""
    keys: set[str] = set()
    for path in config_files(bundle):
        if path.name == "metadata.json":
            continue
        for key in ConfigParser.load_config_file(path):
            keys.add(key.lstrip("+").split("#")[0])
    return keys


def key_faults(parser: ConfigParser, bundle: Path) -> list[str]:
    """Top-level keys that no config of the bundle has and to which nothing refers, such as `--epoch 3`."""
    used = {reference.split("::")[0] for reference in references(content(parser))}
    known = known_keys(bundle) | used | RUN_OPTIONS
    unknown = [key for key in content(parser) if key not in known]
    return [f"--{key}: no such key{nearest(key, known - RUN_OPTIONS)}" for key in unknown]


def references(config: Any) -> set[str]:
    """Keys that the strings of a config refer to (`@key`), with "::" between levels."""
    texts = [value for _, value in walk(config) if isinstance(value, str)]
    return {reference for text in texts for reference in ReferenceResolver.match_refs_pattern(text)}


def version_faults(made: str) -> list[str]:
    """Whether a bundle was made with another minor version; while there is no 1.0, these may be incompatible."""
    if made.split(".")[:2] == transeg.__version__.split(".")[:2]:
        return []
    return [
        f"made with transeg {made}, this is {transeg.__version__}; install transeg {made}, or take the bundle of "
        f"{transeg.__version__}"
    ]


def value_faults(config: Mapping[str, Any], bundle: Path) -> list[str]:
    """Top-level values of another type than the bundle's own, or out of range."""
    base = bundle / "configs" / BASES["train" not in config]
    defaults = json.loads(base.read_text()) if base.is_file() else {}
    faults = []
    for key, value in config.items():
        fault = _path_fault(value, key) or _type_fault(value, defaults.get(key)) or _range_fault(value, key)
        if fault:
            faults.append(f"--{key} {value}: {fault}")
    return faults


def _path_fault(value: Any, key: str) -> str:
    return "" if key not in PATHS or _is_path(value) else "a path is needed, in quotes"


def _type_fault(value: Any, default: Any) -> str:
    if value is None or (isinstance(value, str) and value[:1] in ("$", "@", "%")):
        return ""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "write True or False"
    if isinstance(default, int):
        return "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number is needed"
    if isinstance(default, float):
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number is needed"
    if isinstance(default, list) and not isinstance(value, list | tuple):
        return f"a list is needed, such as {json.dumps(default)}"
    return ""


def _range_fault(value: Any, key: str) -> str:
    if key not in LIMITS or not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    least = LIMITS[key]
    if least is None:
        return "" if value > 0 else "must be above 0"
    return "" if value >= least else f"must be at least {least}"


def argument_faults(parser: ConfigParser) -> list[str]:
    """Arguments that the components of a config do not take."""
    faults = []
    for key, value in walk(content(parser)):
        if not ConfigComponent.is_instantiable(value) or value["_target_"][:1] in "@$%":
            continue
        takes = _parameters(pydoc.locate(ConfigComponent(value, locator=LOCATOR).resolve_module_name()))
        for name in value:
            if takes is not None and not name.startswith("_") and name not in takes:
                faults.append(f"{key}: {value['_target_']} takes no {name}{nearest(name, takes)}")
    return faults


def _parameters(target: Any) -> set[str] | None:
    """Names that a callable takes, those that it hands on to its base classes included; None: any."""
    if target is None:
        return None  # MONAI's own message on instantiation is clear
    found: set[str] = set()
    bases = target.__mro__ if inspect.isclass(target) else ()
    callables = [vars(base)["__init__"] for base in bases if "__init__" in vars(base)] or [target]
    for function in callables:
        takes = inspect.signature(function).parameters
        found |= takes.keys()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
            return found
    return None


def settings() -> dict[str, Any]:
    """What a tracker logs of the config that is being run: its literal top-level values, and the recipe of the data."""
    parser = running_parser()
    literal = {key: value for key, value in content(parser).items() if _is_setting(value)}
    recipe = parser.get_parsed_content("recipe") if "recipe" in parser else {}
    return dict(sorted({**literal, **recipe}.items()))


def _is_setting(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(part, int | float) for part in value)
    return isinstance(value, bool | int | float) or (isinstance(value, str) and value[:1] not in ("$", "@", "%"))
