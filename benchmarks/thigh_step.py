"""A training step of the full-size CycleGAN beside the same losses written the straightforward way.

The reference calls each generator once for each image and term and each discriminator once for each image, with the
discriminators' parameters frozen during the generators' step. All in the default memory format. "checkpointed" is ours
with activation checkpointing, "resize" ours with upsampling convolutions at low resolution in place of transposed ones.
Values and gradients must agree to 1e-4.

    python -m benchmarks.thigh_step
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

import torch
import typer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transeg.bundle.memory import saved_storages
from transeg.losses.adversarial import least_squares_discriminator as d_loss
from transeg.losses.adversarial import least_squares_generator as g_loss
from transeg.losses.reconstruction import absolute_error
from transeg.methods.thigh.losses import brightening, darkening
from transeg.methods.thigh.networks import ThighNet
from transeg.methods.thigh.objective import ThighObjective
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.discriminators import PatchGAN

from benchmarks.genseg_step import matrix_rate, peak_memory
from benchmarks.results import write_result

SIZE = 256
WEIGHTS = {"adversarial": 1.0, "cycle": 1.0, "domain": 0.5, "identity": 1.0}
VARIANTS = ("reference", "ours", "checkpointed", "resize")
Nets = Mapping[str, nn.Module]


def networks(variant: str, **size: int) -> dict[str, nn.Module]:
    """Generators and discriminators at full size, the same weights for every variant."""
    torch.manual_seed(0)
    upsampling = "resize" if variant == "resize" else "transposed"
    nets: dict[str, nn.Module] = {"generator": ThighNet(upsampling=upsampling, **size)}
    nets |= {name: PatchGAN() for name in ("d_e", "d_h")}
    add_checkpointing(nets["generator"], variant == "checkpointed")
    return nets


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Weighted sum."""
    return sum(WEIGHTS[name] * term for name, term in terms.items())


def ours(nets: Nets, batch: Mapping[str, Tensor], update: Callable[[str], None]) -> dict[str, Tensor]:
    """One step as `AlternatingTrainer` does it."""
    objective = ThighObjective(pool_size=0)
    generator = list(nets["generator"].parameters())
    discriminators = [*nets["d_e"].parameters(), *nets["d_h"].parameters()]
    t = objective.forward(nets, batch)
    terms = objective.generators(nets, t)
    total(terms).backward(inputs=generator)
    update("generators")
    loss = objective.discriminators(nets, t)["adversarial"]
    loss.backward(inputs=discriminators)
    update("discriminators")
    return {**terms, "discriminators": loss}


def reference(nets: Nets, batch: Mapping[str, Tensor], update: Callable[[str], None]) -> dict[str, Tensor]:
    """The same step, a call for each image and term."""
    f, g, d_e, d_h = nets["generator"].hard_to_easy, nets["generator"].easy_to_hard, nets["d_e"], nets["d_h"]
    h, e = batch["image"], batch["absence"]
    f_h, g_e = f(h), g(e)
    gf_h, fg_e = g(f_h), f(g_e)
    discriminators = [*d_e.parameters(), *d_h.parameters()]
    for parameter in discriminators:
        parameter.requires_grad_(False)
    terms = {
        "adversarial": g_loss(d_e(f_h)) + g_loss(d_h(g_e)),
        "cycle": absolute_error(fg_e, e) + absolute_error(gf_h, h),
        "domain": brightening(f_h, h) + darkening(g_e, e),
        "identity": absolute_error(f(e), e) + absolute_error(g(h), h),
    }
    total(terms).backward()
    update("generators")
    for parameter in discriminators:
        parameter.requires_grad_(True)
    loss = d_loss(d_e(e), d_e(f_h.detach())) + d_loss(d_h(h), d_h(g_e.detach()))
    loss.backward()
    update("discriminators")
    return {**terms, "discriminators": loss}


def step_of(variant: str) -> Callable:
    """The step of a variant."""
    return reference if variant == "reference" else ours


def batch_of(size: int) -> dict[str, Tensor]:
    """A random image of each domain."""
    generator = torch.Generator().manual_seed(0)
    return {key: torch.rand(1, 1, size, size, generator=generator) * 2 - 1 for key in ("image", "absence")}


def gradients(variant: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Terms, and both players' gradients before any update; in double precision on a small image."""
    nets = networks(variant, width=16)
    for module in nets.values():
        module.double()
    found: dict[str, Tensor] = {}

    def collect(player: str) -> None:
        for name in ["generator"] if player == "generators" else ["d_e", "d_h"]:
            for key, parameter in nets[name].named_parameters():
                found[f"{name}.{key}"] = parameter.grad.clone()

    batch = {key: value.double() for key, value in batch_of(64).items()}
    terms = step_of(variant)(nets, batch, collect)
    return {key: value.item() for key, value in terms.items()}, found


def compare(variant: str) -> dict[str, float]:
    """Largest relative difference of terms, and of gradients relative to the largest gradient."""
    (terms, grads), (terms_ref, grads_ref) = gradients(variant), gradients("reference")
    scale = max(value.abs().max().item() for value in grads_ref.values())
    found = {
        "terms": max(abs(terms[key] - value) / abs(value) for key, value in terms_ref.items()),
        "gradients": max((grads[key] - value).abs().max().item() for key, value in grads_ref.items()) / scale,
    }
    if max(found.values()) > 1e-4:
        raise AssertionError(f"{variant} is not the same step: {found}")
    return found


def activations(variant: str) -> float:
    """GB that the forward of the objective keeps for the backward."""
    nets, batch = networks(variant), batch_of(SIZE)
    weights = {p.untyped_storage().data_ptr() for net in nets.values() for p in net.parameters()}
    with saved_storages(weights) as seen:
        if variant == "reference":
            f, g = nets["generator"].hard_to_easy, nets["generator"].easy_to_hard
            f_h, g_e = f(batch["image"]), g(batch["absence"])
            kept = [g(f_h), f(g_e), f(batch["absence"]), g(batch["image"])]
        else:
            kept = [ThighObjective(pool_size=0).forward(nets, batch)]
    del kept
    return sum(seen.values()) / 2**30


def measure(variant: str, steps: int) -> dict[str, float]:
    """Best step time, operations and peak memory of a variant, in this process."""
    nets, batch = networks(variant), batch_of(SIZE)
    parameters = {
        "generators": list(nets["generator"].parameters()),
        "discriminators": [*nets["d_e"].parameters(), *nets["d_h"].parameters()],
    }
    optimisers = {name: torch.optim.Adam(group, 2e-4, (0.5, 0.999)) for name, group in parameters.items()}

    def update(player: str) -> None:
        optimisers[player].step()
        optimisers[player].zero_grad()

    with FlopCounterMode(display=False) as counter:
        step_of(variant)(nets, batch, update)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        step_of(variant)(nets, batch, update)
        times.append(time.perf_counter() - start)
    gflop, peak = counter.get_total_flops() / 1e9, peak_memory()
    return {"seconds": min(times), "gflop": gflop, "peak_memory_gb": peak, "activations_gb": activations(variant)}


def main(steps: int = 2, rounds: int = 2, variant: str = "") -> None:
    """Measure all variants; --variant serves the child processes."""
    if variant:
        print(json.dumps(measure(variant, steps)))
        return
    figures: dict = {"matrix_gflops": matrix_rate()}
    figures["difference"] = {name: compare(name) for name in ("ours", "checkpointed")}
    for name in VARIANTS * rounds:  # in turns: the speed of the machine drifts
        command = [sys.executable, "-m", "benchmarks.thigh_step", "--variant", name, "--steps", str(steps)]
        out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if name not in figures or out["seconds"] < figures[name]["seconds"]:
            figures[name] = out
    plain = figures["ours"]
    figures["speed_ratio"] = figures["reference"]["seconds"] / plain["seconds"]
    figures["checkpointed_time"] = figures["checkpointed"]["seconds"] / plain["seconds"]
    figures["checkpointed_activations"] = figures["checkpointed"]["activations_gb"] / plain["activations_gb"]
    print(json.dumps(figures, indent=1))
    print(write_result("thigh_step", "random images", [0], figures))


if __name__ == "__main__":
    typer.run(main)
