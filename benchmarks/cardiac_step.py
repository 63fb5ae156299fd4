"""A training step of all six networks of the cardiac method compared with a naive implementation of the same losses.

The reference calls a network once per volume and term, upsamples and then convolves, keeps everything a backward needs,
freezes what a player does not train, and translates again for segmenters and discriminators after the generators'
update. "reusing" is the reference, but gives them the translations of the generators' turn. "checkpointed" is ours with
activation checkpointing. Each variant runs in its own process; values and gradients must agree to 1e-4.

    python -m benchmarks.cardiac_step --threads 2
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, cast

import torch
import typer
from torch import nn
from torch.optim import Adam, Optimizer
from torch.utils.flop_counter import FlopCounterMode
from transeg.engines.step import Step
from transeg.losses.adversarial import least_squares_discriminator as d_loss
from transeg.losses.adversarial import least_squares_generator as g_loss
from transeg.losses.reconstruction import absolute_error
from transeg.methods.cardiac.losses import voxel_cross_entropy
from transeg.methods.cardiac.networks import CardiacNet
from transeg.methods.cardiac.objective import VOLUMES, CardiacObjective
from transeg.networks.blocks import UpsampleConv
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.discriminators import PatchGAN

from benchmarks import steps
from benchmarks.results import write_result
from benchmarks.steps import Batch, Nets, Players, Terms

SIZE = (88, 112, 112)
CLASSES = 6
VARIANTS = ("reference", "reusing", "ours", "checkpointed")
WEIGHTS = {"adversarial": 1.0, "cycle": 10.0, "shape": 1.0}


def networks(variant: str, width: int, discriminator_width: int) -> dict[str, nn.Module]:
    """All six networks, the same weights for every variant."""
    torch.manual_seed(0)
    net = CardiacNet(classes=CLASSES, width=width)
    for module in net.modules():
        if isinstance(module, UpsampleConv):
            module.low_resolution = variant not in ("reference", "reusing")
    nets: dict[str, nn.Module] = {"network": add_checkpointing(net, variant == "checkpointed")}
    return nets | {name: PatchGAN(3, layers=2, width=discriminator_width) for name in ("d_a", "d_b")}


def adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of the paper."""
    return Adam(parameters, 2e-4, (0.5, 0.999))


def make_players(nets: Nets, optimizer: Callable[..., Optimizer] = adam) -> Players:
    """All three players in the paper's order."""
    net = cast(CardiacNet, nets["network"])
    kinds = dict.fromkeys(VOLUMES, 1.0)
    players = [
        steps.make_player("generators", [net.g_b, net.g_a], WEIGHTS, optimizer),
        steps.make_player("segmenters", [net.s_a, net.s_b], kinds, optimizer, normalise_weights=True),
        steps.make_player("discriminators", [nets["d_a"], nets["d_b"]], {"adversarial": 1.0}, optimizer),
    ]
    return {player.name: player for player in players}


def batch_of(size: tuple[int, ...]) -> Batch:
    """A random volume of each domain and labels."""
    generator = torch.Generator().manual_seed(0)
    batch = {key: torch.rand(1, 1, *size, generator=generator) * 2 - 1 for key in ("a", "b")}
    labels = {f"{key}_label": torch.randint(CLASSES, x.shape, generator=generator) for key, x in batch.items()}
    known = {f"{key}_labelled": torch.ones(1, dtype=torch.bool) for key in batch}
    return {**batch, **labels, **known}


def ours(nets: Nets, batch: Batch, players: Players) -> Terms:
    """The step of the package."""
    return Step(CardiacObjective(pool_size=0), nets, [*players.values()], batch).run()


def reference(nets: Nets, batch: Batch, players: Players, reuse: bool = False) -> Terms:
    """The same step, one call per volume and term."""
    net, d_a, d_b = cast(CardiacNet, nets["network"]), nets["d_a"], nets["d_b"]
    g_a, g_b, s_a, s_b = net.g_a, net.g_b, net.s_a, net.s_b
    x_a, y_a, x_b, y_b = (batch[key] for key in ("a", "a_label", "b", "b_label"))
    _train_only(players, "generators")
    x_ab, x_ba = g_b(x_a), g_a(x_b)
    x_aba, x_bab = g_a(x_ab), g_b(x_ba)
    terms = {
        "adversarial": g_loss(d_a(x_ba)) + g_loss(d_b(x_ab)),
        "cycle": absolute_error(x_aba, x_a) + absolute_error(x_bab, x_b),
        "shape": voxel_cross_entropy(s_a(x_ba), y_b) + voxel_cross_entropy(s_b(x_ab), y_a),
    }
    steps.weighted(players, "generators", terms).backward()
    steps.update(players, "generators")

    if reuse:
        x_ab, x_ba, x_aba, x_bab = (x.detach() for x in (x_ab, x_ba, x_aba, x_bab))
    else:
        with torch.no_grad():
            x_ab, x_ba = g_b(x_a), g_a(x_b)
            x_aba, x_bab = g_a(x_ab), g_b(x_ba)
    _train_only(players, "segmenters")
    ce = voxel_cross_entropy
    supervised = {
        "real": ce(s_a(x_a), y_a) + ce(s_b(x_b), y_b),
        "synthetic": ce(s_a(x_ba), y_b) + ce(s_b(x_ab), y_a),
        "reconstructed": ce(s_a(x_aba), y_a) + ce(s_b(x_bab), y_b),
    }
    steps.weighted(players, "segmenters", supervised).backward()
    steps.update(players, "segmenters")

    _train_only(players, "discriminators")
    loss = d_loss(d_a(x_a), d_a(x_ba)) + d_loss(d_b(x_b), d_b(x_ab))
    loss.backward()
    steps.update(players, "discriminators")
    return (
        steps.named("generators", terms)
        | steps.named("segmenters", supervised)
        | steps.named("discriminators", {"adversarial": loss})
    )


def _train_only(players: Players, name: str) -> None:
    for player in players.values():
        for module in player.networks:
            module.requires_grad_(player.name == name)


def step_of(variant: str) -> Callable[[Nets, Batch, Players], Terms]:
    """The step of a variant."""
    if variant == "reusing":
        return lambda nets, batch, players: reference(nets, batch, players, reuse=True)
    return reference if variant == "reference" else ours


def gradients(variant: str) -> tuple[Terms, Terms]:
    """Terms, and every player's gradients at the same weights; in double precision on small volumes."""
    nets = networks(variant, width=2, discriminator_width=2)
    batch = steps.double(nets, batch_of((22, 24, 16)))
    players = make_players(nets, steps.frozen)
    found = steps.record_gradients(nets, players)
    return step_of(variant)(nets, batch, players), found


def measure(variant: str, count: int, width: int, discriminator_width: int, size: tuple[int, ...]) -> dict[str, Any]:
    """Best step time, peak memory and operations of a variant, in this process."""
    before = steps.peak_memory()
    nets, batch = networks(variant, width, discriminator_width), batch_of(size)
    players = make_players(nets)
    times = [steps.seconds(lambda: step_of(variant)(nets, batch, players)) for _ in range(1 + count)]
    peak = steps.peak_memory()
    with FlopCounterMode(display=False) as counter:  # last, as it keeps what checkpointing would free
        step_of(variant)(nets, batch, players)
    return {
        "seconds": min(times[1:] or times),
        "gflop": counter.get_total_flops() / 1e9,
        "peak_memory_gb": peak,
        "libraries_gb": before,
    }


def ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    """Time and peak memory of the variants relative to the reference; none for what did not fit into memory."""
    base, found = figures["reference"], {}
    for name in VARIANTS[1:]:
        for key in ("seconds", "peak_memory_gb"):
            if key in base and key in figures[name]:
                found[f"{name} {key}"] = figures[name][key] / base[key]
    return found


def main(
    count: Annotated[int, typer.Option("--steps", help="Timed steps after a first one; 0 times the first one.")] = 1,
    rounds: Annotated[int, typer.Option(help="Processes per variant, taking turns; the fastest counts.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads.")] = 2,
    width: Annotated[int, typer.Option(help="Width of generators and segmenters.")] = 16,
    discriminator_width: Annotated[int, typer.Option(help="Width of the discriminators.")] = 32,
    size: Annotated[tuple[int, int, int], typer.Option(help="Size of the volumes in voxels.")] = SIZE,
    save: Annotated[bool, typer.Option(help="Write the result.")] = True,
    variant: Annotated[str, typer.Option(help="Variant of a child process.")] = "",
) -> None:
    """Measure all variants."""
    torch.set_num_threads(threads)
    if variant:
        print(json.dumps(steps.within_memory(lambda: measure(variant, count, width, discriminator_width, size))))
        return
    figures: dict[str, Any] = {"matrix_gflops": steps.matrix_rate(), "width": width, "size": size}
    expected = gradients("reference")
    figures["difference"] = {name: steps.difference(gradients(name), expected) for name in VARIANTS[1:]}
    options = ["--steps", count, "--threads", threads, "--width", width, "--discriminator-width", discriminator_width]
    figures |= steps.fastest("benchmarks.cardiac_step", VARIANTS, rounds, [*options, "--size", *size])
    figures["ratios"] = ratios(figures)
    print(json.dumps(figures, indent=1))
    if save:
        print(write_result("cardiac_step", "random volumes, batch 1", [0], figures))


if __name__ == "__main__":
    typer.run(main)
