"""A training step of PathoGAN at the paper's size, plain and with activation checkpointing: time and memory.

Networks, losses and optimisers are those of `train.json` with `paper.json`; images are random. Each variant runs in its
own process; gradients of both must agree to 1e-4.

    python -m benchmarks.pathogan_step --threads 2
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
import typer
from monai.bundle import ConfigParser
from torch import nn
from transeg.bundle.memory import saved_storages
from transeg.engines.step import Objective, Step

from benchmarks import steps
from benchmarks.results import ROOT, write_result
from benchmarks.steps import Batch, Players, Terms

CONFIGS = ROOT / "bundles" / "brain_mri_pathogan_segmentation" / "configs"
VARIANTS = ("plain", "checkpointed")
SMALL = {"width": 8, "blocks": 2, "code": 16, "image_size": [64, 64], "discriminator_width": 8}


@dataclass
class Training:
    """The bundle's networks, objective and players, and a random batch."""

    networks: Mapping[str, nn.Module]
    objective: Objective
    players: Players
    batch: Batch

    def step(self) -> Step:
        """A step; its random codes are always the same."""
        torch.manual_seed(1)
        return Step(self.objective, self.networks, [*self.players.values()], self.batch)


def training(variant: str, small: bool) -> Training:
    """The training run of a variant."""
    parser = ConfigParser()
    parser.read_config([CONFIGS / "train.json", CONFIGS / "paper.json"])
    parser.update(SMALL if small else {})
    parser["device"], parser["checkpointing"] = "$torch.device('cpu')", variant == "checkpointed"
    torch.manual_seed(0)
    networks, objective, players = (parser.get_parsed_content(key) for key in ("networks", "objective", "players"))
    generator = torch.Generator().manual_seed(0)
    shape = [parser["batch_size"], len(parser.get_parsed_content("channels")), *parser["image_size"]]
    batch = {key: torch.rand(shape, generator=generator) * 2 - 1 for key in ("image", "absence")}
    return Training(networks, objective, {player.name: player for player in players}, batch)


def gradients(variant: str) -> tuple[Terms, Terms]:
    """Terms and gradients of the first step of small networks in double precision."""
    run = training(variant, small=True)
    run.batch = steps.double(run.networks, run.batch)
    found = steps.record_gradients(run.networks, run.players)
    return run.step().run(), found


def activations(run: Training) -> float:
    """GiB that the generators' losses keep for the backward."""
    weights = {p.untyped_storage().data_ptr() for net in run.networks.values() for p in net.parameters()}
    with saved_storages(weights) as seen:
        turn = run.step().turn(run.players["generators"])
    del turn
    return sum(seen.values()) / 2**30


def measure(variant: str, count: int, small: bool) -> dict[str, Any]:
    """Best step time and memory of a variant, in this process."""
    run = training(variant, small)
    times = [steps.seconds(lambda: run.step().run()) for _ in range(1 + count)]
    return {"seconds": min(times[1:]), "peak_memory_gb": steps.peak_memory(), "activations_gb": activations(run)}


def main(
    count: Annotated[int, typer.Option("--steps", help="Timed steps after a first one.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads.")] = 2,
    small: Annotated[bool, typer.Option(help="Tiny networks, no result; for a trial.")] = False,
    variant: Annotated[str, typer.Option(help="Variant of a child process.")] = "",
) -> None:
    """Measure both variants."""
    torch.set_num_threads(threads)
    if variant:
        print(json.dumps(steps.within_memory(lambda: measure(variant, count, small))))
        return
    figures: dict[str, Any] = {"matrix_gflops": steps.matrix_rate()}
    figures["difference"] = steps.difference(gradients("checkpointed"), gradients("plain"))["gradients"]
    options = ["--steps", count, "--threads", threads, *(["--small"] if small else [])]
    figures |= steps.fastest("benchmarks.pathogan_step", VARIANTS, 1, options)
    print(json.dumps(figures, indent=1))
    if not small:
        print(write_result("pathogan_step", "random images, 4 + 4 of 240x240, 4 channels", [0], figures))


if __name__ == "__main__":
    typer.run(main)
