"""Further run folders whose networks segment along, so that the mean of their probabilities makes the mask."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.config import PathLike
from torch import nn

from transeg.bundle.runs import WEIGHTS
from transeg.data.recipe import OF_THE_SCANS, bundle_recipe
from transeg.engines.weights import load_weights
from transeg.errors import DataError


def read_networks(
    folders: Sequence[PathLike], recipe: Mapping[str, Any], device: torch.device | str = "cpu"
) -> list[nn.Module]:
    """Networks of bundles or run folders, each by its own inference config, with their weights.

    Args:
        folders: the folders.
        recipe: of the weights that they join.
        device: of the networks.

    Raises:
        DataError: a folder without weights, or one whose recipe differs: its network would see another image, or mean
            something else by its output.
    """
    for folder in folders:
        check_member(folder, recipe)
    return [_network(Path(folder), device) for folder in folders]


def check_member(folder: PathLike, recipe: Mapping[str, Any]) -> None:
    """Refuse a folder whose recipe differs from another in more than what its training scans were like."""
    own = bundle_recipe(folder)
    names = [name for name in recipe.keys() | own.keys() if name not in OF_THE_SCANS]
    different = sorted(name for name in names if _plain(recipe.get(name)) != _plain(own.get(name)))
    if different:
        told = "; ".join(f"{name} is {own.get(name)} there and {recipe.get(name)} here" for name in different)
        raise DataError(f"ensemble: {folder} is of another recipe ({told}); name runs of the same prepared data")


def _network(folder: Path, device: torch.device | str) -> nn.Module:
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    parser.update({"bundle_root": str(folder), "device": device, "ensemble": []})
    network: nn.Module = parser.get_parsed_content("network")
    load_weights(network, folder / WEIGHTS)
    return network.eval()


def _plain(value: Any) -> Any:
    """As it is in a file: tuples are lists there."""
    return json.loads(json.dumps(value))
