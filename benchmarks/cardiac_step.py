"""A training step of all six networks of the cardiac method beside the same losses written the straightforward way.

The reference calls a network once for each volume and term, upsamples and then convolves, keeps all that a backward
needs, freezes what a player does not train, and translates anew for segmenters and discriminators once the generators
were updated. "reusing" is the reference that shows them the translations of the generators' step. "checkpointed" is
ours with activation checkpointing. Each variant runs in a process of its own; values and gradients must agree to 1e-4.

    python -m benchmarks.cardiac_step --threads 2
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import psutil
import torch
import typer
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from transeg.losses.adversarial import least_squares_discriminator as d_loss
from transeg.losses.adversarial import least_squares_generator as g_loss
from transeg.losses.reconstruction import absolute_error
from transeg.methods.cardiac.losses import voxel_cross_entropy
from transeg.methods.cardiac.networks import CardiacNet
from transeg.methods.cardiac.objective import CardiacObjective
from transeg.networks.blocks import UpsampleConv
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.discriminators import PatchGAN

from benchmarks.genseg_step import matrix_rate, peak_memory
from benchmarks.results import write_result

SIZE = (88, 112, 112)
CLASSES = 6
VARIANTS = ("reference", "reusing", "ours", "checkpointed")
WEIGHTS = {"adversarial": 1.0, "cycle": 10.0, "shape": 1.0}
Nets = Mapping[str, nn.Module]
Batch = Mapping[str, Tensor]


def networks(variant: str, width: int, discriminator_width: int) -> dict[str, nn.Module]:
    """All six networks, the same weights for every variant."""
    torch.manual_seed(0)
    net = CardiacNet(classes=CLASSES, width=width)
    for module in net.modules():
        if isinstance(module, UpsampleConv):
            module.low_resolution = variant not in ("reference", "reusing")
    nets = {"network": add_checkpointing(net, variant == "checkpointed")}
    return nets | {name: PatchGAN(3, layers=2, width=discriminator_width) for name in ("d_ct", "d_mr")}


def trained(nets: Nets) -> dict[str, list[nn.Module]]:
    """Networks of each player."""
    net = nets["network"]
    return {
        "generators": [net.g_ct_to_mr, net.g_mr_to_ct],
        "segmenters": [net.s_ct, net.s_mr],
        "discriminators": [nets["d_ct"], nets["d_mr"]],
    }


def parameters(nets: Nets, player: str) -> list[nn.Parameter]:
    """What a player trains."""
    return [p for module in trained(nets)[player] for p in module.parameters()]


def batch_of(size: tuple[int, ...]) -> dict[str, Tensor]:
    """A random volume of each modality and labels."""
    generator = torch.Generator().manual_seed(0)
    batch = {key: torch.rand(1, 1, *size, generator=generator) * 2 - 1 for key in ("ct", "mr")}
    labels = {f"{key}_label": torch.randint(CLASSES, x.shape, generator=generator) for key, x in batch.items()}
    return {**batch, **labels}


def ours(nets: Nets, batch: Batch, update: Callable[[str], None]) -> dict[str, Tensor]:
    """One step in the paper's order; the graph of the translations is freed by the generators' backward."""
    objective, found = CardiacObjective(pool_size=0), {}
    t = objective.forward(nets, batch)
    for player in ("generators", "segmenters", "discriminators"):
        terms = getattr(objective, player)(nets, t)
        weights = WEIGHTS if player == "generators" else dict.fromkeys(terms, 1 / len(terms))
        sum(weights[name] * term for name, term in terms.items()).backward(inputs=parameters(nets, player))
        update(player)
        found |= {f"{player} {name}": term.detach() for name, term in terms.items()}
    return found


def reference(nets: Nets, batch: Batch, update: Callable[[str], None], reuse: bool = False) -> dict[str, Tensor]:
    """The same step, a call for each volume and term."""
    net, d_a, d_b = nets["network"], nets["d_ct"], nets["d_mr"]
    g_a, g_b, s_a, s_b = net.g_mr_to_ct, net.g_ct_to_mr, net.s_ct, net.s_mr
    x_a, y_a, x_b, y_b = (batch[key] for key in ("ct", "ct_label", "mr", "mr_label"))
    _train_only(nets, "generators")
    x_ab, x_ba = g_b(x_a), g_a(x_b)
    x_aba, x_bab = g_a(x_ab), g_b(x_ba)
    terms = {
        "generators adversarial": g_loss(d_a(x_ba)) + g_loss(d_b(x_ab)),
        "generators cycle": absolute_error(x_aba, x_a) + absolute_error(x_bab, x_b),
        "generators shape": voxel_cross_entropy(s_a(x_ba), y_b) + voxel_cross_entropy(s_b(x_ab), y_a),
    }
    sum(WEIGHTS[name.split()[1]] * term for name, term in terms.items()).backward()
    update("generators")

    if reuse:
        x_ab, x_ba, x_aba, x_bab = (x.detach() for x in (x_ab, x_ba, x_aba, x_bab))
    else:
        with torch.no_grad():
            x_ab, x_ba = g_b(x_a), g_a(x_b)
            x_aba, x_bab = g_a(x_ab), g_b(x_ba)
    _train_only(nets, "segmenters")
    ce = voxel_cross_entropy
    supervised = {
        "segmenters real": ce(s_a(x_a), y_a) + ce(s_b(x_b), y_b),
        "segmenters synthetic": ce(s_a(x_ba), y_b) + ce(s_b(x_ab), y_a),
        "segmenters reconstructed": ce(s_a(x_aba), y_a) + ce(s_b(x_bab), y_b),
    }
    (sum(supervised.values()) / 3).backward()
    update("segmenters")

    _train_only(nets, "discriminators")
    loss = d_loss(d_a(x_a), d_a(x_ba)) + d_loss(d_b(x_b), d_b(x_ab))
    loss.backward()
    update("discriminators")
    terms |= {**supervised, "discriminators adversarial": loss}
    return {name: term.detach() for name, term in terms.items()}


def _train_only(nets: Nets, player: str) -> None:
    for name, modules in trained(nets).items():
        for module in modules:
            module.requires_grad_(name == player)


def step_of(variant: str) -> Callable[[Nets, Batch, Callable[[str], None]], dict[str, Tensor]]:
    """The step of a variant."""
    if variant == "reusing":
        return lambda nets, batch, update: reference(nets, batch, update, reuse=True)
    return reference if variant == "reference" else ours


def gradients(variant: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Terms, and every player's gradients before any update; in double precision on small volumes."""
    nets = networks(variant, width=2, discriminator_width=2)
    for module in nets.values():
        module.double()
    found: dict[str, Tensor] = {}

    def collect(player: str) -> None:
        for i, parameter in enumerate(parameters(nets, player)):
            found[f"{player} {i}"] = parameter.grad.clone()

    batch = {key: x.double() if x.is_floating_point() else x for key, x in batch_of((22, 24, 16)).items()}
    return step_of(variant)(nets, batch, collect), found


def compare(variant: str) -> dict[str, float]:
    """Largest relative difference of terms, and of gradients relative to the largest of the player."""
    (terms, grads), (terms_ref, grads_ref) = gradients(variant), gradients("reference")
    scale: dict[str, float] = {}
    for key, value in grads_ref.items():
        player = key.split()[0]
        scale[player] = max(scale.get(player, 0), value.abs().max().item())
    found = {
        "terms": max((abs(terms[key] - value) / abs(value)).item() for key, value in terms_ref.items()),
        "gradients": max((grads[k] - v).abs().max().item() / scale[k.split()[0]] for k, v in grads_ref.items()),
    }
    if not max(found.values()) <= 1e-4:
        raise AssertionError(f"{variant} is not the same step: {found}")
    return found


def operations(variant: str, width: int, discriminator_width: int, size: tuple[int, ...]) -> float:
    """GFLOP of a step, on tensors without values: a counter keeps what checkpointing would free."""
    with FakeTensorMode():
        nets, batch = networks(variant, width, discriminator_width), batch_of(size)
        with FlopCounterMode(display=False) as counter:
            step_of(variant)(nets, batch, lambda player: [p.grad for p in parameters(nets, player)])
    return counter.get_total_flops() / 1e9


def measure(variant: str, steps: int, width: int, discriminator_width: int, size: tuple[int, ...]) -> dict[str, Any]:
    """Best step time, operations and peak memory of a variant in this process, or the memory that was too little."""
    limit = psutil.virtual_memory().available
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # an error here, not the end of some other process
    before = peak_memory()
    try:
        nets, batch = networks(variant, width, discriminator_width), batch_of(size)
        groups = {player: parameters(nets, player) for player in trained(nets)}
        optimisers = {name: torch.optim.Adam(group, 2e-4, (0.5, 0.999)) for name, group in groups.items()}

        def update(player: str) -> None:
            optimisers[player].step()
            optimisers[player].zero_grad()

        times = []
        for _ in range(1 + steps):
            start = time.perf_counter()
            step_of(variant)(nets, batch, update)
            times.append(time.perf_counter() - start)
    except (RuntimeError, MemoryError) as error:
        if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
            raise
        return {"more_than_gb": limit / 2**30}
    peak = peak_memory()
    return {
        "seconds": min(times[1:] or times),
        "gflop": operations(variant, width, discriminator_width, size),
        "peak_memory_gb": peak,
        "libraries_gb": before,
    }


def ratios(figures: Mapping[str, Any]) -> dict[str, float]:
    """Time and peak memory of the variants relative to the reference; none for what did not fit."""
    base, found = figures["reference"], {}
    for name in VARIANTS[1:]:
        for key in ("seconds", "peak_memory_gb"):
            if key in base and key in figures[name]:
                found[f"{name} {key}"] = figures[name][key] / base[key]
    return found


def main(
    steps: Annotated[int, typer.Option(help="Timed steps after a first one, or 0: that is timed.")] = 1,
    rounds: Annotated[int, typer.Option(help="Processes of each variant, in turns; the fastest counts.")] = 1,
    threads: int = 2,
    width: Annotated[int, typer.Option(help="Of generators and segmenters.")] = 16,
    discriminator_width: int = 32,
    size: Annotated[tuple[int, int, int], typer.Option(help="Voxels of a volume.")] = SIZE,
    save: Annotated[bool, typer.Option(help="Write the result.")] = True,
    variant: Annotated[str, typer.Option(help="For the child processes.")] = "",
) -> None:
    """Measure all variants."""
    torch.set_num_threads(threads)
    if variant:
        print(json.dumps(measure(variant, steps, width, discriminator_width, size)))
        return
    figures: dict[str, Any] = {"matrix_gflops": matrix_rate(), "width": width, "size": size}
    figures["difference"] = {name: compare(name) for name in VARIANTS[1:]}
    shared = ["--steps", steps, "--threads", threads, "--width", width, "--discriminator-width", discriminator_width]
    for name in VARIANTS * rounds:  # in turns: the speed of the machine drifts
        options = ["--variant", name, *shared, "--size", *size]
        command = [sys.executable, "-m", "benchmarks.cardiac_step", *map(str, options)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        out = json.loads(run.stdout.splitlines()[-1])
        if name not in figures or out.get("seconds", 0) < figures[name].get("seconds", 0):
            figures[name] = out
    figures["ratios"] = ratios(figures)
    print(json.dumps(figures, indent=1))
    if save:
        print(write_result("cardiac_step", "random volumes, batch 1", [0], figures))


if __name__ == "__main__":
    typer.run(main)
