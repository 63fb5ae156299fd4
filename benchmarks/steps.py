"""Parts of the step benchmarks: players, comparison of two steps, time and memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from transeg.engines.player import Player

Nets = Mapping[str, nn.Module]
Batch = Mapping[str, Tensor]
Players = dict[str, Player]
Terms = dict[str, Tensor]  # by "player/term", unweighted
TOLERANCE = 1e-4


def frozen(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """An optimiser that changes nothing, for gradients of all players at the same weights."""
    return SGD(parameters, lr=0.0)


def make_player(
    name: str,
    networks: Sequence[nn.Module],
    weights: Mapping[str, float],
    make: Callable[..., Optimizer],
    **options: Any,
) -> Player:
    """A player with an optimiser of its own."""
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return Player(name, networks, make(parameters), weights, **options)


def update(players: Players, name: str) -> None:
    """Update a player as a naive implementation does; clears the gradients of all of them."""
    players[name].optimizer.step()
    for player in players.values():
        player.optimizer.zero_grad()


def weighted(players: Players, name: str, terms: Terms) -> Tensor:
    """Weighted sum of a player's terms."""
    weights = players[name].weights
    return torch.stack([weights[key] * value for key, value in terms.items()]).sum()


def named(player: str, terms: Terms) -> Terms:
    """A player's terms, detached, under the names of a step."""
    return {f"{player}/{key}": value.detach() for key, value in terms.items()}


def record_gradients(nets: Nets, players: Players) -> Terms:
    """Gradients by "player name of the parameter", filled before each update of the player."""
    names = {id(p): f"{name}.{key}" for name, net in nets.items() for key, p in net.named_parameters()}
    found: Terms = {}

    def record(player: Player) -> None:
        for p in player.parameters:
            if p.grad is not None:
                found[f"{player.name} {names[id(p)]}"] = p.grad.clone()

    for player in players.values():
        player.optimizer.register_step_pre_hook(lambda *_, player=player: record(player))
    return found


def double(nets: Nets, batch: Batch) -> dict[str, Tensor]:
    """Networks to double precision, in place, and the batch in double precision."""
    for module in nets.values():
        module.double()
    return {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}


def difference(found: tuple[Terms, Terms], expected: tuple[Terms, Terms]) -> dict[str, float]:
    """Largest difference of the terms, relative, and of the gradients, relative to the largest of the player.

    Args:
        found: terms and gradients of a step.
        expected: those of the reference.

    Raises:
        AssertionError: a difference above the tolerance, or gradients of other parameters.
    """
    (terms, grads), (terms_ref, grads_ref) = found, expected
    if terms.keys() != terms_ref.keys() or grads.keys() != grads_ref.keys():
        raise AssertionError(f"in one step only: {terms.keys() ^ terms_ref.keys()}, {grads.keys() ^ grads_ref.keys()}")
    largest: dict[str, float] = {}
    for key, value in grads_ref.items():
        player = key.split()[0]
        largest[player] = max(largest.get(player, 0.0), value.abs().max().item())
    figures = {
        "terms": max(abs(terms[k] - v).item() / max(abs(v).item(), 1e-6) for k, v in terms_ref.items()),
        "gradients": max((grads[k] - v).abs().max().item() / largest[k.split()[0]] for k, v in grads_ref.items()),
    }
    if not max(figures.values()) <= TOLERANCE:
        raise AssertionError(f"not the same step: {figures}")
    return figures


class Stopwatch:
    """Adds up the time between its starts and stops, in seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def start(self, *_: object) -> None:
        """Start; takes any arguments, as a hook."""
        self.seconds -= time.perf_counter()

    def stop(self, *_: object) -> None:
        """Stop; takes any arguments, as a hook."""
        self.seconds += time.perf_counter()

    def watch(self, optimizers: Iterable[Optimizer]) -> None:
        """Measure the updates of optimisers."""
        for optimizer in optimizers:
            optimizer.register_step_pre_hook(self.start)
            optimizer.register_step_post_hook(self.stop)


def seconds(step: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def peak_memory() -> float:
    """Peak resident memory of this process in GiB; unlike getrusage it does not begin with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 2**20


def within_memory(measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Figures of a measurement, or the available memory in GiB ("more_than_gb") if it needs more."""
    limit = psutil.virtual_memory().available
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # an error here rather than the end of another process
    try:
        return measure()
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        return {"more_than_gb": limit / 2**30}


def matrix_rate(size: int = 3072, repeats: int = 6) -> float:
    """Measured rate of single-precision matrix products in GFLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(repeats)) / 1e9


def fastest(module: str, variants: Sequence[str], rounds: int, options: Sequence[object]) -> dict[str, dict[str, Any]]:
    """Figures of each variant's fastest process; ``module`` prints them as JSON when called with --variant.

    The variants take turns, since the speed of a machine drifts.
    """
    figures: dict[str, dict[str, Any]] = {}
    for name in [*variants] * rounds:
        command = [sys.executable, "-m", module, "--variant", name, *map(str, options)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        out = json.loads(run.stdout.splitlines()[-1])
        if name not in figures or out.get("seconds", 0) < figures[name].get("seconds", 0):
            figures[name] = out
    return figures
