"""A training step of PathoGAN at the paper's size, plain and with activation checkpointing: time and memory.

Networks, losses and optimisers are those of `train.json` with `paper.json`, images random. Each variant runs in a
process of its own; gradients of both must agree to 1e-4.

    python -m benchmarks.pathogan_step --threads 2
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import psutil
import torch
import typer
from monai.bundle import ConfigParser
from torch import Tensor
from transeg.bundle.memory import saved_storages

from benchmarks.genseg_step import matrix_rate, peak_memory
from benchmarks.pathogan_phantoms import CONFIGS
from benchmarks.results import write_result

VARIANTS = ("plain", "checkpointed")
SMALL = {"width": 8, "blocks": 2, "code": 16, "image_size": [64, 64], "discriminator_width": 8}


class Step:
    """A step as `AlternatingTrainer` does it, with the bundle's networks, objective and players."""

    def __init__(self, variant: str, small: bool) -> None:
        parser = ConfigParser()
        parser.read_config([CONFIGS / "train.json", CONFIGS / "paper.json"])
        parser.update(SMALL if small else {})
        parser["device"], parser["checkpointing"] = "$torch.device('cpu')", variant == "checkpointed"
        torch.manual_seed(0)
        parts = (parser.get_parsed_content(key) for key in ("networks", "objective", "players"))
        self.networks, self.objective, self.players = parts
        generator = torch.Generator().manual_seed(0)
        shape = [parser["batch_size"], len(parser["channels"]), *parser["image_size"]]
        self.batch = {key: torch.rand(shape, generator=generator) * 2 - 1 for key in ("image", "absence")}

    def double(self) -> None:
        """Double precision."""
        for network in self.networks.values():
            network.double()
        self.batch = {key: value.double() for key, value in self.batch.items()}

    def __call__(self, collect: Callable[[str, Tensor], None] | None = None) -> None:
        """Update all players; `collect` gets the name and gradient of each parameter before."""
        torch.manual_seed(1)
        t = self.objective.forward(self.networks, self.batch)
        for player in self.players:
            terms = getattr(self.objective, player.name)(self.networks, t)
            player.total(terms).backward(inputs=player.parameters)
            for i, parameter in enumerate(player.parameters if collect else ()):
                collect(f"{player.name} {i}", parameter.grad)
            player.optimizer.step()
            player.optimizer.zero_grad()

    def activations(self) -> float:
        """GB that the generators' losses keep for the backward."""
        weights = {p.untyped_storage().data_ptr() for net in self.networks.values() for p in net.parameters()}
        with saved_storages(weights) as seen:
            terms = self.objective.generators(self.networks, self.objective.forward(self.networks, self.batch))
        del terms
        return sum(seen.values()) / 2**30


def gradients(variant: str) -> dict[str, Tensor]:
    """Gradients of the first step of small networks in double precision."""
    step, found = Step(variant, small=True), {}
    step.double()
    step(lambda name, gradient: found.update({name: gradient.clone()}))
    return found


def compare() -> float:
    """Largest difference of the gradients of both variants, relative to the largest gradient."""
    plain, checkpointed = (gradients(variant) for variant in VARIANTS)
    scale = max(value.abs().max().item() for value in plain.values())
    found = max((checkpointed[name] - value).abs().max().item() for name, value in plain.items()) / scale
    if not found <= 1e-4:
        raise AssertionError(f"checkpointing changes the gradients by {found}")
    return found


def measure(variant: str, steps: int, small: bool) -> dict[str, Any]:
    """Best step time and memory of a variant, in this process; what memory it asked for in vain if it is too little."""
    limit = psutil.virtual_memory().available
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # an error here, not the end of some other process
    try:
        step = Step(variant, small)
        step()
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        return {"seconds": min(times), "peak_memory_gb": peak_memory(), "activations_gb": step.activations()}
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        return {"more_than_gb": limit / 2**30}


def main(
    steps: Annotated[int, typer.Option(help="Timed steps after a first one.")] = 1,
    threads: int = 2,
    small: Annotated[bool, typer.Option(help="Tiny networks and no result, to try it.")] = False,
    variant: Annotated[str, typer.Option(help="For the child processes.")] = "",
) -> None:
    """Measure both variants."""
    torch.set_num_threads(threads)
    if variant:
        print(json.dumps(measure(variant, steps, small)))
        return
    figures: dict[str, Any] = {"matrix_gflops": matrix_rate(), "difference": compare()}
    for name in VARIANTS:
        options = ["--variant", name, "--steps", steps, "--threads", threads, *(["--small"] if small else [])]
        command = [sys.executable, "-m", "benchmarks.pathogan_step", *map(str, options)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        figures[name] = json.loads(run.stdout.splitlines()[-1])
    print(json.dumps(figures, indent=1))
    if not small:
        print(write_result("pathogan_step", "random images, 4 + 4 of 240x240, 4 channels", [0], figures))


if __name__ == "__main__":
    typer.run(main)
