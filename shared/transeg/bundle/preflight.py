"""`transeg preflight`: what would stop a run, told in seconds, offline, before the run."""

from __future__ import annotations

import inspect
import json
import pydoc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from fire.parser import DefaultParseValue
from monai.bundle import ComponentLocator, ConfigComponent, ConfigParser, ReferenceResolver

from transeg.bundle.check import STANDALONE, config_files, config_problems
from transeg.bundle.memory import training_memory
from transeg.data.datalist import read_datalist
from transeg.errors import DatalistError

LISTS = {"training": "validation", "training_absence": "validation_absence"}
RUN_OPTIONS = {"args_file", "config_file", "final_id", "init_id", "logging_file", "meta_file", "run_id", "tracking"}
INFER_KEYS = ("network_def", "preprocessing", "inferer", "postprocessing")
CHANGES_LABEL = ("detection", "deepedit", "classification")  # words in a name that MONAI Label acts upon
LOCATOR = ComponentLocator()
NO_OVERLAYS = ("metadata.json", "tracking.json", *STANDALONE)  # --tracking lays the second over in MONAI's own way
TRAIN_KEYS = ("device", "network", "run", "train#dataset#data", "train#trainer#max_epochs", "validate#dataset#data")


def preflight(
    ctx: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="Folder of the bundle.")],
    dataset_dir: Annotated[Path | None, typer.Option("--dataset_dir", help="Prepared data for the training.")] = None,
) -> None:
    """List what would stop a run of a bundle; give it the overrides (--epochs 3) that the run will get."""
    overrides = _overrides(ctx.args)
    faults = preflight_problems(bundle, dataset_dir, overrides)
    needed = ""
    if dataset_dir and not faults:
        files = overrides.get("config_file", str(bundle / "configs" / "train.json"))
        settings = {key: value for key, value in overrides.items() if key not in RUN_OPTIONS}
        settings |= {"bundle_root": str(bundle), "dataset_dir": str(dataset_dir)}
        needed, faults = training_memory(files, settings)
    for fault in faults:
        typer.echo(f"{bundle}: {fault}")
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{bundle}: ready{needed and f'; {needed}'}")


def _overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Values by key of `--key value` and `--key=value`, read as MONAI's command line reads them."""
    found: dict[str, Any] = {}
    for index, argument in enumerate(arguments):
        if argument.startswith("--"):
            key, given, value = argument[2:].partition("=")
            after = arguments[index + 1 : index + 2]
            found[key] = DefaultParseValue(value if given else (after[0] if after else "True"))
    return found


def preflight_problems(bundle: Path, dataset_dir: Path | None = None, overrides: Iterable[str] = ()) -> list[str]:
    """Problems, a line each: packages, configs, bundle_root, overrides, data, and readiness for MONAI Label.

    Args:
        bundle: its folder.
        dataset_dir: folder with a datalist.json and its stacks; not looked at if None.
        overrides: keys that will be given on the command line of `python -m monai.bundle run`.
    """
    missing = [name for name in ("metadata.json", *STANDALONE) if not (bundle / "configs" / name).is_file()]
    if missing:
        return [f"configs/{name}: no such file; give the folder of a bundle, such as bundles/NAME" for name in missing]
    faults = _packages(json.loads((bundle / "configs" / "metadata.json").read_text())) + config_problems(bundle)
    if faults:  # the rest needs configs that can be read
        return faults
    train, inference = (_read(bundle / "configs" / name) for name in STANDALONE)
    for name, parser in zip(STANDALONE, (train, inference), strict=True):
        faults += [f"configs/{name}: {fault}" for fault in _arguments(parser)]
    faults = faults or _overlays(bundle)  # which would repeat what is wrong below them
    faults += _root(train, bundle) if "bundle_root" not in overrides else []
    known = {key for parser in (train, inference) for key, _ in _walk(parser.config)}
    for key in map(ReferenceResolver.normalize_id, overrides):
        name = key.replace("::", "#")
        if name not in known | RUN_OPTIONS:
            faults.append(f"--{name}: no such key{_nearest(name, known)}")
    faults += _data(train, dataset_dir) if dataset_dir else []
    return faults + _label(train, inference, bundle)


def _read(*paths: Path) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(list(paths))
    return parser


def _walk(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items() if isinstance(config, dict) else enumerate(config):
        inner = f"{key}#{name}" if key else str(name)
        yield inner, value
        if isinstance(value, (dict, list)):
            yield from _walk(value, inner)


def _nearest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _packages(metadata: Mapping[str, Any]) -> list[str]:
    faults = []
    for name, version in metadata.get("required_packages_version", {}).items():
        try:
            distribution(name)
        except PackageNotFoundError:
            faults.append(f"no package {name}; install it (the bundle was made with {version})")
    return faults


def _overlays(bundle: Path) -> list[str]:
    """Faults of the configs that are laid over others.

    One is right if it is so over train.json or inference.json, or over one of them with another of its folder between;
    if it is not, what is told is how it fares where it fares best.
    """
    faults = []
    paths = [path for path in config_files(bundle) if path.name not in NO_OVERLAYS]
    for path in paths:
        bases = [(bundle / "configs" / base,) for base in STANDALONE]
        pairs = [(*base, other) for base in bases for other in paths if other.parent == path.parent and other != path]
        best: list[str] | None = None
        for base in (*bases, *pairs):
            found = _overlay(path, base)
            if found is not None and (best is None or len(found) < len(best)):
                best = found
            if best == []:
                break
        if best is None:
            best = [f"changes keys that neither {' nor '.join(STANDALONE)} has"]
        faults += [f"{path.relative_to(bundle)}: {fault}" for fault in best]
    return faults


def _overlay(path: Path, base: Sequence[Path]) -> list[str] | None:
    """Arguments that a component does not take and keys that nothing uses, once laid over `base`; None: no fit."""
    try:
        merged, known = _read(*base, path), _read(*base).config
    except (KeyError, ValueError, IndexError):
        return None  # it changes what is not there
    used = {ref.split("::")[0] for ref in _references(merged)}
    faults = _arguments(merged)
    for key, value in ConfigParser.load_config_file(path).items():
        to_run = isinstance(value, list) and all(str(item).startswith("$") for item in value)
        if key.isidentifier() and key not in known and key not in used and not to_run:
            faults.append(f"{key}: nothing uses it{_nearest(key, known)}")
    return faults


def _references(parser: ConfigParser) -> set[str]:
    values = [value for _, value in _walk(parser.config) if isinstance(value, str)]
    return {ref for value in values for ref in ReferenceResolver.match_refs_pattern(value)}


def _arguments(parser: ConfigParser) -> list[str]:
    faults = []
    for key, value in _walk(parser.config):
        if not ConfigComponent.is_instantiable(value) or value["_target_"][:1] in "@$%":
            continue
        target = pydoc.locate(ConfigComponent(value, locator=LOCATOR).resolve_module_name())
        takes = inspect.signature(target).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values()):
            continue
        for name in value:
            if not name.startswith("_") and name not in takes:
                faults.append(f"{key}: {value['_target_']} takes no {name}{_nearest(name, takes)}")
    return faults


def _root(train: ConfigParser, bundle: Path) -> list[str]:
    root = Path(train.get_parsed_content("bundle_root"))
    if root.resolve() == bundle.resolve():
        return []
    return [f"bundle_root would be {root.resolve()} here; run in the bundle's folder or give --bundle_root {bundle}"]


def _data(train: ConfigParser, folder: Path) -> list[str]:
    faults = []
    channels = len(train.get_parsed_content("channels"))
    for training, validation in LISTS.items():
        lists: dict[str, Sequence[Mapping[str, Any]]] = {}
        for key in (training, validation):
            try:
                lists[key] = read_datalist(folder / "datalist.json", key)
            except DatalistError as error:
                faults.append(str(error))
                continue
            if not lists[key] and key != "validation_absence":
                faults.append(f"{folder / 'datalist.json'}: {key} is empty")
            faults += _stacks(lists[key], channels)
        shared = {item.get("case") for item in lists.get(training, ())} & {
            i.get("case") for i in lists.get(validation, ())
        }
        faults += [f"case {case} is in both {training} and {validation}" for case in sorted(shared - {None})]
    return list(dict.fromkeys(faults))


def _stacks(items: Sequence[Mapping[str, Any]], channels: int) -> list[str]:
    last: dict[str, int] = {}
    for item in items:
        if item["image"].endswith(".npy"):
            last[item["image"]] = max(last.get(item["image"], 0), item.get("index", 0))
    faults = []
    for file, index in last.items():
        shape = np.load(file, mmap_mode="r").shape
        if len(shape) > 1 and shape[1] != channels:
            faults.append(f"{file}: {shape[1]} channels; the config has {channels}, set channels")
        if index >= shape[0]:
            faults.append(f"{file}: the datalist asks for slice {index} of {shape[0]}; prepare the data again")
    return faults


def _label(train: ConfigParser, inference: ConfigParser, bundle: Path) -> list[str]:
    faults = [f"configs/inference.json: no {key}" for key in INFER_KEYS if key not in inference]
    faults += [f"configs/train.json: no {key}" for key in TRAIN_KEYS if key not in train]
    handlers = train.get("train#handlers")
    if not isinstance(handlers, list) or not all(isinstance(handler, dict) for handler in handlers):
        faults.append("configs/train.json: train#handlers is not a literal list of dicts")
    data = json.loads((bundle / "configs" / "metadata.json").read_text()).get("network_data_format", {})
    for side, name in (("inputs", "image"), ("outputs", "pred")):
        if "channel_def" not in data.get(side, {}).get(name, {}):
            faults.append(f"configs/metadata.json: network_data_format#{side}#{name} has no channel_def")
    if not any((bundle / "models" / name).is_file() for name in ("model.pt", "model.ts")):
        faults.append("models/model.pt: no such file; inference needs it, training writes it")
    words = [word for word in CHANGES_LABEL if word in bundle.resolve().name]
    faults += [f"its name holds {word}, for which other rules apply; rename it" for word in words]
    return [f"{fault} (MONAI Label)" for fault in faults]
