"""`transeg preflight`: report in seconds, and offline, what would make a run fail."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from transeg.bundle.check import config_problems
from transeg.bundle.config import (
    BASES,
    PATHS,
    RUN_OPTIONS,
    argument_faults,
    config_files,
    content,
    given_texts,
    key_faults,
    known_keys,
    nearest,
    references,
    value_faults,
    version_faults,
    walk,
)
from transeg.bundle.memory import training_memory
from transeg.data.datalist import read_datalist
from transeg.data.recipe import Recipe, bundle_recipe, check_recipe, load_recipe
from transeg.errors import ConfigError, DataError, DatalistError
from transeg.method import Method, find_method

GRID = ("channels", "image_size", "pixdim")  # settings that the recipe of the data has too
INFER_KEYS = ("network_def", "preprocessing", "inferer", "postprocessing")
CHANGES_LABEL = ("detection", "deepedit", "classification")  # words in a name that MONAI Label acts upon
NO_OVERLAYS = ("metadata.json", "tracking.json", *BASES)  # --tracking lays the second over in MONAI's own way
TRAIN_KEYS = ("device", "network", "run", "train#dataset#data", "train#trainer#max_epochs", "validate#dataset#data")


def preflight(
    ctx: typer.Context,
    bundle: Annotated[Path, typer.Argument(help="Bundle or run folder.")],
    dataset_dir: Annotated[
        Path | None, typer.Option("--dataset_dir", help="Prepared data (default: data are not checked).")
    ] = None,
) -> None:
    """Check that a bundle is ready to run. Pass the same overrides as for the run, e.g. --epochs 3."""
    overrides = read_overrides(ctx.args)
    faults = preflight_problems(bundle, dataset_dir, overrides)
    note = "data not checked, give --dataset_dir"
    if dataset_dir and not faults:
        files, settings = _run_settings(bundle, dataset_dir, overrides)
        note, faults = training_memory(files, settings)
    for fault in faults:
        typer.echo(f"{bundle}: {fault}")
    if faults:
        raise typer.Exit(1)
    typer.echo(f"{bundle}: ready; {note}")


def read_overrides(arguments: Sequence[str]) -> dict[str, Any]:
    """Values by key of `--key value` and `--key=value`, read as by MONAI's command line; "#" between levels.

    Raises:
        ConfigError: a word that belongs to no key.
    """
    for before, word in zip(["", *arguments], arguments, strict=False):
        if not word.startswith("--") and ("=" in before or not before.startswith("--")):
            raise ConfigError(f"{word}: belongs to no option; write lists and texts with spaces as --key '[1,2]'")
    return {key: text if key in PATHS else DefaultParseValue(text) for key, text in given_texts(arguments).items()}


def preflight_problems(
    bundle: Path, dataset_dir: Path | None = None, overrides: Mapping[str, Any] | None = None
) -> list[str]:
    """Problems of a training run, one per line: packages, configs, bundle_root, overrides, data; then MONAI Label's.

    Args:
        bundle: bundle or run folder.
        dataset_dir: folder with a datalist.json and its stacks; not checked if None.
        overrides: values by key that the command line of `python -m monai.bundle run` will get.
    """
    overrides = overrides or {}
    missing = [name for name in ("metadata.json", *BASES) if not (bundle / "configs" / name).is_file()]
    if missing:
        return [f"configs/{name}: no such file; give a bundle (bundles/NAME) or a run folder" for name in missing]
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    faults = _packages(metadata) + config_problems(bundle)
    if faults:  # the rest needs configs that can be read
        return faults
    try:
        method = find_method(metadata.get("method", ""))
        bundle_recipe(bundle)
    except (LookupError, DataError) as error:
        return [f"configs/metadata.json: {error.args[0]}"]
    faults = _bases(bundle)
    if not faults and "bundle" not in metadata:  # to a run folder they are copied, and fit the bundle's own train.json
        faults = _overlays(bundle)
    faults += _root(bundle) if "bundle_root" not in overrides else []
    faults += _settings(bundle, overrides)
    if dataset_dir and not faults:
        files, settings = _run_settings(bundle, dataset_dir, overrides)
        faults = _data(_read(files, settings), bundle, dataset_dir, method)
    return faults + _label(bundle, metadata)


def _read(files: str | Path | Sequence[str | Path], settings: Mapping[str, Any] | None = None) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(files)
    parser.update(dict(settings or {}))
    return parser


def _run_settings(
    bundle: Path, dataset_dir: Path, overrides: Mapping[str, Any]
) -> tuple[str | Sequence[str], dict[str, Any]]:
    """Config files of the training run, and the values to set in them."""
    files = overrides.get("config_file", str(bundle / "configs" / "train.json"))
    settings = {key: value for key, value in overrides.items() if key not in RUN_OPTIONS}
    return files, {"bundle_root": str(bundle)} | settings | {"dataset_dir": str(dataset_dir)}


def _packages(metadata: Mapping[str, Any]) -> list[str]:
    faults = []
    for name, version in metadata.get("required_packages_version", {}).items():
        try:
            distribution(name)
        except PackageNotFoundError:
            faults.append(f"package {name} not found; install it (the bundle was made with {version})")
        if name == "transeg":
            faults += version_faults(version)
    return faults


def _bases(bundle: Path) -> list[str]:
    return [f"configs/{name}: {fault}" for name in BASES for fault in argument_faults(_read(bundle / "configs" / name))]


def _overlays(bundle: Path) -> list[str]:
    """Faults of the overlays.

    An overlay is correct if it is so over train.json or inference.json, alone or with another of its folder between
    them; otherwise the faults of the best of these combinations are reported.
    """
    faults = []
    paths = [path for path in config_files(bundle) if path.name not in NO_OVERLAYS]
    for path in paths:
        others = [other for other in paths if other.parent == path.parent and other != path]
        best = _fewest(_overlay(path, base) for base in _combinations(bundle, others))
        if best is None:
            best = [f"changes keys that neither {' nor '.join(BASES)} has"]
        faults += [f"{path.relative_to(bundle)}: {fault}" for fault in best]
    return faults


def _combinations(bundle: Path, others: Sequence[Path]) -> Iterator[tuple[Path, ...]]:
    bases = [bundle / "configs" / base for base in BASES]
    yield from ((base,) for base in bases)
    yield from ((base, other) for base in bases for other in others)


def _fewest(candidates: Iterator[list[str] | None]) -> list[str] | None:
    """The shortest list; the first empty one ends the search."""
    best: list[str] | None = None
    for found in candidates:
        if found is not None and (best is None or len(found) < len(best)):
            best = found
        if best == []:
            break
    return best


def _overlay(path: Path, base: Sequence[Path]) -> list[str] | None:
    """Unknown arguments and unused keys of an overlay over `base`; None if it changes what `base` does not have.

    A key of the other base is not unused: a baseline may be for training and inference.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # MONAI warns of what is merged into nothing
            merged, under = _read([*base, path]), _read(base)
    except (KeyError, ValueError, IndexError):
        return None
    known = content(under).keys() | {key for name in BASES for key in content(_read(base[0].with_name(name)))}
    used = {reference.split("::")[0] for reference in references(content(merged))}
    faults = argument_faults(merged)
    for key, value in ConfigParser.load_config_file(path).items():
        to_run = isinstance(value, list) and all(str(item).startswith("$") for item in value)
        if key.isidentifier() and key not in known and key not in used and not to_run:
            faults.append(f"{key}: unused key{nearest(key, known)}")
    return faults


def _root(bundle: Path) -> list[str]:
    root = Path(_read(bundle / "configs" / "train.json").get_parsed_content("bundle_root"))
    if root.resolve() == bundle.resolve():
        return []
    return [f"bundle_root would be {root.resolve()} here; run in the bundle's folder or give --bundle_root {bundle}"]


def _settings(bundle: Path, overrides: Mapping[str, Any]) -> list[str]:
    """Overrides that are misspelt or have a wrong value, each tried in the config that has its key; and arguments
    that components of the config files named in them do not take.
    """
    faults: list[str] = []
    named = overrides.get("config_file")
    configs = [_read(named)] if named else [_read(bundle / "configs" / base) for base in BASES]
    known = {key for config in configs for key, _ in walk(content(config))} | known_keys(bundle)
    for key, value in overrides.items():
        config = next((config for config in configs if key.split("#")[0] in content(config)), configs[0])
        if key in RUN_OPTIONS:
            continue
        if "#" in key and key not in known:
            faults.append(f"--{key}: no such key{nearest(key, known)}")
        else:
            config.update({key: value})
    for config in configs:
        faults += key_faults(config, bundle) + value_faults(content(config), bundle)
    return faults + (argument_faults(configs[0]) if named else [])


def _data(train: ConfigParser, bundle: Path, folder: Path, method: Method) -> list[str]:
    """Faults of prepared data: their recipe, the lists that the method reads, and the stacks."""
    datalist = folder / "datalist.json"
    try:
        recipe = load_recipe(datalist, bundle)
        check_recipe(recipe, str(datalist), **{key: train.get_parsed_content(key) for key in GRID})
    except DataError as error:
        return [str(error)]
    faults = []
    for names in method.lists_of(recipe).items():
        cases: list[set[str]] = []
        for name in filter(None, names):
            items, found = _list(datalist, name, name in method.optional)
            faults += found + _stacks(items, recipe)
            cases.append({str(item["case"]) for item in items if "case" in item})
        shared = set.intersection(*cases) if len(cases) > 1 else set()
        faults += [f"case {case} is in both {names[0]} and {names[1]}" for case in sorted(shared)]
    return list(dict.fromkeys(faults))


def _list(datalist: Path, name: str, optional: bool) -> tuple[Sequence[Mapping[str, Any]], list[str]]:
    """Items of a list, and its fault."""
    try:
        items = read_datalist(datalist, name)
    except DatalistError as error:
        return [], [] if optional and datalist.is_file() else [str(error)]
    return items, [] if items or optional else [f"{datalist}: {name} is empty"]


def _stacks(items: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[str]:
    """Stacks (N, C, X, Y) or (1, C, X, Y, Z) whose channels or size are not those of the recipe, or that are short."""
    first, *others = recipe["image_size"]
    size = (first // 2 if recipe.get("halves") else first, *others)
    last: dict[str, int] = {}
    for item in items:
        if item["image"].endswith(".npy"):
            last[item["image"]] = max(last.get(item["image"], 0), item.get("index", 0))
    faults = []
    for file, index in last.items():
        count, channels, *shape = np.load(file, mmap_mode="r").shape
        if channels != len(recipe["channels"]):
            faults.append(f"{file}: {channels} channels, but {len(recipe['channels'])} in the recipe; set channels")
        elif tuple(shape) != size:
            faults.append(f"{file}: images of {shape}, but {[*size]} by the recipe; prepare the data again")
        if index >= count:
            faults.append(f"{file}: the datalist refers to slice {index} of {count}; prepare the data again")
    return faults


def _label(bundle: Path, metadata: Mapping[str, Any]) -> list[str]:
    train, inference = (_read(bundle / "configs" / name) for name in BASES)
    faults = [f"configs/inference.json: no {key}" for key in INFER_KEYS if key not in inference]
    faults += [f"configs/train.json: no {key}" for key in TRAIN_KEYS if key not in train]
    handlers = train.get("train#handlers")
    if not isinstance(handlers, list) or not all(isinstance(handler, dict) for handler in handlers):
        faults.append("configs/train.json: train#handlers is not a literal list of dicts")
    data = metadata.get("network_data_format", {})
    for side, name in (("inputs", "image"), ("outputs", "pred")):
        if "channel_def" not in data.get(side, {}).get(name, {}):
            faults.append(f"configs/metadata.json: network_data_format#{side}#{name} has no channel_def")
    if not any((bundle / "models" / name).is_file() for name in ("model.pt", "model.ts")):
        faults.append("models/model.pt: no such file; train first")
    name = str(metadata.get("bundle", bundle.resolve().name))
    words = [word for word in CHANGES_LABEL if word in name]
    faults += [f"{word} in the name {name} selects other rules; rename it" for word in words]
    return [f"{fault} (MONAI Label)" for fault in faults]
