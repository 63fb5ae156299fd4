"""Memory of one training step, estimated from steps on one and two samples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.data import default_collate

from transeg.engines.player import Player
from transeg.engines.step import Objective, Step
from transeg.engines.tree import to_device
from transeg.errors import reason, root_cause


@dataclass
class StepMemory:
    """Bytes that a training step holds at the same time.

    Args:
        weights: parameters and buffers of all networks.
        training: gradients and the state of the optimisers.
        activations: tensors saved for the backward passes, at most.
    """

    weights: int
    training: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of all."""
        return self.weights + self.training + self.activations


def step_memory(train: ConfigParser) -> StepMemory:
    """Estimate the memory of a training step, on the CPU, whatever the device of the config.

    Computes the forward and each player's terms for a batch of one sample and, unless that is the batch size, of two,
    counts what autograd saves, and extrapolates linearly to the batch size; then lets each optimiser create its state.
    Assumes single precision and omits temporary buffers of kernels.

    Args:
        train: config of a training run with its data; its device is set to the CPU.
    """
    train["device"] = "$torch.device('cpu')"
    keys = ("networks", "objective", "players", "train#dataset", "batch_size")
    networks, objective, players, dataset, size = (train.get_parsed_content(key) for key in keys)
    sample = {**dataset[0], "labelled": True}
    one, *two = (
        _activations(networks, objective, players, to_device(default_collate([sample] * count), "cpu"))
        for count in range(1, min(size, 2) + 1)
    )
    activations = one + (size - 1) * (two[0] - one) if two else one
    weights = _bytes(itertools.chain(*([*net.parameters(), *net.buffers()] for net in networks.values())))
    return StepMemory(weights, sum(_training(player) for player in players), activations)


def training_memory(files: str | Sequence[str], settings: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Memory of a training step as a sentence, and problems if it does not fit on the device.

    Args:
        files: configs of the training run, with prepared data; the first sample is used.
        settings: config values to override, by key.
    """
    train = ConfigParser()
    train.read_config(files)
    train.update(dict(settings))
    device = torch.device(train.get_parsed_content("device"))
    try:
        step = step_memory(train)
    except Exception as error:  # whatever the bundle's own code raises is the problem to report
        return "", [f"a training step on the first sample fails ({reason(root_cause(error))})"]
    free = free_memory(device)
    parts = f"weights {_mib(step.weights)}, gradients and optimisers {_mib(step.training)}"
    sentence = (
        f"a training step takes about {_mib(step.total)} MiB ({parts}, activations {_mib(step.activations)}; estimated "
        f"from two small steps), {_mib(free)} MiB are free on {device}"
    )
    return (sentence, []) if step.total <= free else ("", [f"{sentence}: lower batch_size or width"])


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def free_memory(device: torch.device) -> int:
    """Bytes available to a new process on a device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


def _activations(
    networks: Mapping[str, nn.Module], objective: Objective, players: Sequence[Player], batch: Mapping[str, Any]
) -> int:
    """Bytes saved by the forward, and by the terms of the player that saves most."""
    known = {p.untyped_storage().data_ptr() for net in networks.values() for p in net.parameters()}
    phases: list[dict[int, int]] = []  # storages of the forward, then of each player's terms

    @contextmanager
    def phase() -> Iterator[None]:
        with saved_storages(known.union(*phases[:1])) as found, parametrize.cached():
            yield
        phases.append(found)

    step = Step(objective, networks, players, batch, phase)
    for player in players:
        step.turn(player)
    shared, *own = (sum(found.values()) for found in phases)
    return shared + max(own)


@contextmanager
def saved_storages(known: set[int]) -> Iterator[dict[int, int]]:
    """Storages saved by autograd, except the known ones: address to bytes. They live as long as the graph."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _training(player: Player) -> int:
    for parameter in player.parameters:
        parameter.grad = torch.zeros_like(parameter)
    player.optimizer.step()
    state = [value for values in player.optimizer.state.values() for value in values.values()]
    return _bytes([*player.gradients(), *(value for value in state if isinstance(value, Tensor))])


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors)
