"""A training step of the full-size CycleGAN compared with a naive implementation of the same losses.

The reference calls each generator once per image and term and each discriminator once per image, with the
discriminators' parameters frozen in the generators' turn. All in the default memory format. "checkpointed" is ours with
activation checkpointing, "resize" ours with upsampling convolutions at low resolution instead of transposed ones.
Values and gradients must agree to 1e-4.

    python -m benchmarks.thigh_step
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, cast

import torch
import typer
from torch import nn
from torch.optim import Adam, Optimizer
from torch.utils.flop_counter import FlopCounterMode
from transeg.bundle.memory import saved_storages
from transeg.engines.step import Step
from transeg.losses.adversarial import least_squares_discriminator as d_loss
from transeg.losses.adversarial import least_squares_generator as g_loss
from transeg.losses.reconstruction import absolute_error
from transeg.methods.thigh.losses import brightening, darkening
from transeg.methods.thigh.networks import ThighNet
from transeg.methods.thigh.objective import ThighObjective
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.discriminators import PatchGAN

from benchmarks import steps
from benchmarks.results import write_result
from benchmarks.steps import Batch, Nets, Players, Terms

SIZE = 256
WEIGHTS = {"adversarial": 1.0, "cycle": 1.0, "domain": 0.5, "identity": 1.0}
VARIANTS = ("reference", "ours", "checkpointed", "resize")


def networks(variant: str, width: int = 64) -> dict[str, nn.Module]:
    """Generators and discriminators, the same weights for every variant; full size by default."""
    torch.manual_seed(0)
    generator = ThighNet(width=width, upsampling="resize" if variant == "resize" else "transposed")
    nets: dict[str, nn.Module] = {"generator": generator}
    nets |= {name: PatchGAN() for name in ("d_e", "d_h")}
    add_checkpointing(generator, variant == "checkpointed")
    return nets


def adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of CycleGAN."""
    return Adam(parameters, 2e-4, (0.5, 0.999))


def make_players(nets: Nets, optimizer: Callable[..., Optimizer] = adam) -> Players:
    """Both players, in order of update."""
    g = steps.make_player("generators", [nets["generator"]], WEIGHTS, optimizer)
    d = steps.make_player("discriminators", [nets["d_e"], nets["d_h"]], {"adversarial": 1.0}, optimizer)
    return {"generators": g, "discriminators": d}


def ours(nets: Nets, batch: Batch, players: Players) -> Terms:
    """The step of the package."""
    return Step(ThighObjective(pool_size=0), nets, [*players.values()], batch).run()


def reference(nets: Nets, batch: Batch, players: Players) -> Terms:
    """The same step, one call per image and term."""
    net, d_e, d_h = cast(ThighNet, nets["generator"]), nets["d_e"], nets["d_h"]
    f, g = net.hard_to_easy, net.easy_to_hard
    h, e = batch["image"], batch["absence"]
    f_h, g_e = f(h), g(e)
    gf_h, fg_e = g(f_h), f(g_e)
    for discriminator in (d_e, d_h):
        discriminator.requires_grad_(False)
    terms = {
        "adversarial": g_loss(d_e(f_h)) + g_loss(d_h(g_e)),
        "cycle": absolute_error(fg_e, e) + absolute_error(gf_h, h),
        "domain": brightening(f_h, h) + darkening(g_e, e),
        "identity": absolute_error(f(e), e) + absolute_error(g(h), h),
    }
    steps.weighted(players, "generators", terms).backward()
    steps.update(players, "generators")
    for discriminator in (d_e, d_h):
        discriminator.requires_grad_(True)
    loss = d_loss(d_e(e), d_e(f_h.detach())) + d_loss(d_h(h), d_h(g_e.detach()))
    loss.backward()
    steps.update(players, "discriminators")
    return steps.named("generators", terms) | steps.named("discriminators", {"adversarial": loss})


def step_of(variant: str) -> Callable[[Nets, Batch, Players], Terms]:
    """The step of a variant."""
    return reference if variant == "reference" else ours


def batch_of(size: int) -> Batch:
    """A random image of each domain."""
    generator = torch.Generator().manual_seed(0)
    return {key: torch.rand(1, 1, size, size, generator=generator) * 2 - 1 for key in ("image", "absence")}


def gradients(variant: str) -> tuple[Terms, Terms]:
    """Terms, and both players' gradients at the same weights; in double precision on a small image."""
    nets = networks(variant, width=16)
    batch = steps.double(nets, batch_of(64))
    players = make_players(nets, steps.frozen)
    found = steps.record_gradients(nets, players)
    return step_of(variant)(nets, batch, players), found


def activations(variant: str) -> float:
    """GiB that the forward of the objective keeps for the backward."""
    nets, batch = networks(variant), batch_of(SIZE)
    weights = {p.untyped_storage().data_ptr() for net in nets.values() for p in net.parameters()}
    kept: Any
    with saved_storages(weights) as seen:
        if variant == "reference":
            net = cast(ThighNet, nets["generator"])
            f, g = net.hard_to_easy, net.easy_to_hard
            f_h, g_e = f(batch["image"]), g(batch["absence"])
            kept = [g(f_h), f(g_e), f(batch["absence"]), g(batch["image"])]
        else:
            kept = Step(ThighObjective(pool_size=0), nets, [*make_players(nets).values()], batch)
    del kept
    return sum(seen.values()) / 2**30


def measure(variant: str, count: int) -> dict[str, float]:
    """Best step time, operations and peak memory of a variant, in this process."""
    nets, batch = networks(variant), batch_of(SIZE)
    players = make_players(nets)
    with FlopCounterMode(display=False) as counter:
        step_of(variant)(nets, batch, players)
    best = min(steps.seconds(lambda: step_of(variant)(nets, batch, players)) for _ in range(count))
    peak = steps.peak_memory()
    gflop = counter.get_total_flops() / 1e9
    return {"seconds": best, "gflop": gflop, "peak_memory_gb": peak, "activations_gb": activations(variant)}


def main(
    count: Annotated[int, typer.Option("--steps", help="Timed steps after a first one.")] = 2,
    rounds: Annotated[int, typer.Option(help="Processes per variant, taking turns; the fastest counts.")] = 2,
    variant: Annotated[str, typer.Option(help="Variant of a child process.")] = "",
) -> None:
    """Measure all variants."""
    if variant:
        print(json.dumps(measure(variant, count)))
        return
    figures: dict[str, Any] = {"matrix_gflops": steps.matrix_rate()}
    expected = gradients("reference")
    figures["difference"] = {name: steps.difference(gradients(name), expected) for name in ("ours", "checkpointed")}
    figures |= steps.fastest("benchmarks.thigh_step", VARIANTS, rounds, ["--steps", count])
    plain = figures["ours"]
    figures["speed_ratio"] = figures["reference"]["seconds"] / plain["seconds"]
    figures["checkpointed_time"] = figures["checkpointed"]["seconds"] / plain["seconds"]
    figures["checkpointed_activations"] = figures["checkpointed"]["activations_gb"] / plain["activations_gb"]
    print(json.dumps(figures, indent=1))
    print(write_result("thigh_step", "random images", [0], figures))


if __name__ == "__main__":
    typer.run(main)
