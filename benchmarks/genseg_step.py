"""A GenSeg training step compared with a naive implementation of the same losses.

The reference calls each network once per image set and term, upsamples before it convolves, segments every presence
image, computes every spectral norm on each call (torch's own), keeps the input of every activation and also computes
the discriminators' gradients in the generators' turn, in the default memory format. Values and gradients must agree to
1e-4.

    python -m benchmarks.genseg_step
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, TypedDict, cast

import numpy as np
import torch
import typer
from ignite.engine import Events
from monai.bundle import ConfigParser
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam, Optimizer
from torch.utils.flop_counter import FlopCounterMode
from transeg.data.datalist import write_datalist, write_stack
from transeg.engines.step import Step
from transeg.engines.trainer import AlternatingTrainer
from transeg.losses.adversarial import hinge_discriminator, hinge_generator
from transeg.losses.reconstruction import absolute_error
from transeg.losses.segmentation import soft_dice
from transeg.methods.genseg.networks import GenSegNet
from transeg.methods.genseg.objective import GenSegObjective
from transeg.networks.blocks import UpsampleConv
from transeg.networks.discriminators import MultiScaleDiscriminator
from transeg.networks.spectral import add_spectral_norm

from benchmarks import steps
from benchmarks.results import ROOT, write_result
from benchmarks.steps import Batch, Nets, Players, Stopwatch, Terms


class Task(TypedDict):
    """Images in a batch of either kind, their size, and the networks."""

    n: int
    size: tuple[int, int]
    channels: int
    width: int
    levels: int
    discriminator_widths: tuple[int, ...]


TASKS: dict[str, Task] = {
    "brain 240x120, 4+4": {
        "n": 4,
        "size": (240, 120),
        "channels": 4,
        "width": 16,
        "levels": 5,
        "discriminator_widths": (64, 128, 256, 512),
    },
    "48 px, 20+20": {
        "n": 20,
        "size": (48, 48),
        "channels": 1,
        "width": 32,
        "levels": 4,
        "discriminator_widths": (128, 256, 512),
    },
}
VARIANTS = ("reference", "ours")
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
WEIGHTS = {"segmentation": 0.01, "reconstruction": 50, "latent": 1, "cycle": 50, "adversarial": 3}


def networks(task: Task, seed: int = 0) -> dict[str, nn.Module]:
    """Full-size networks of a task, with spectral norm."""
    torch.manual_seed(seed)
    channels = task["channels"]
    nets: dict[str, nn.Module] = {"generator": GenSegNet(2, channels, width=task["width"], levels=task["levels"])}
    for name in ("d_a", "d_p"):
        nets[name] = MultiScaleDiscriminator(2, channels, task["discriminator_widths"])
    return {name: add_spectral_norm(network) for name, network in nets.items()}


def make_naive(network: nn.Module) -> None:
    """Turn off the savings inside a network: torch's own spectral norm, no activation in place, upsample first."""
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.LeakyReLU):
            module.inplace = False
        elif isinstance(module, UpsampleConv):
            module.low_resolution = False
        elif isinstance(module, CONVOLUTIONS) and parametrize.is_parametrized(module):
            state = _weight_norm(module).state_dict()
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            spectral_norm(module)
            _weight_norm(module).load_state_dict(state)


def _weight_norm(convolution: nn.Module) -> nn.Module:
    return convolution.get_submodule("parametrizations.weight")


def batch_of(task: Task, seed: int = 0) -> Batch:
    """Random images; one presence image in ten has a label, at least one."""
    generator = torch.Generator().manual_seed(seed)
    shape = (task["n"], task["channels"], *task["size"])
    labelled = torch.zeros(task["n"], dtype=torch.bool)
    labelled[:: max(task["n"] // 2, 10)] = True
    return {
        "image": torch.rand(shape, generator=generator) * 2 - 1,
        "absence": torch.rand(shape, generator=generator) * 2 - 1,
        "label": (torch.rand(task["n"], 1, *task["size"], generator=generator) > 0.8).float(),
        "labelled": labelled,
    }


def adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """The optimiser of the paper."""
    return Adam(parameters, 1e-3, (0.5, 0.999), weight_decay=1e-4, amsgrad=True)


def make_players(nets: Nets, optimizer: Callable[..., Optimizer] = adam) -> Players:
    """Both players, in order of update."""
    d = steps.make_player("discriminators", [nets["d_a"], nets["d_p"]], {"adversarial": 1.0}, optimizer)
    g = steps.make_player("generators", [nets["generator"]], WEIGHTS, optimizer, normalise_weights=True)
    return {"discriminators": d, "generators": g}


def ours(nets: Nets, batch: Batch, players: Players) -> Terms:
    """The step of the package."""
    return Step(GenSegObjective(), nets, [*players.values()], batch).run()


def reference(nets: Nets, batch: Batch, players: Players) -> Terms:
    """The same step, one call per image set and term."""
    net, d_a, d_p = cast(GenSegNet, nets["generator"]), nets["d_a"], nets["d_p"]
    x_p, x_a = batch["image"], batch["absence"]
    code_p, skips_p = net.encode(x_p)
    x_pa = net.decode_common(code_p, skips_p)
    x_pp = x_pa + net.decode_residual(code_p, skips_p)
    seg = net.segment(code_p, skips_p)
    code_a, skips_a = net.encode(x_a)
    x_aa = net.decode_common(code_a, skips_a)
    c_a, c_p = code_a[:, : net.common_channels], code_p[:, : net.common_channels]
    u = torch.randn_like(code_a[:, net.common_channels :])
    code_ap = torch.cat([c_a, u], dim=1)
    x_ap = x_aa + net.decode_residual(code_ap, skips_a)
    code_ap_again, skips_ap = net.encode(x_ap)
    x_apa = net.decode_common(code_ap_again, skips_ap)
    c_pa = net.encode(x_pa)[0][:, : net.common_channels]
    c_aa = net.encode(x_aa)[0][:, : net.common_channels]
    code_pp = net.encode(x_pp)[0]

    d_loss = hinge_discriminator(d_a(x_a), d_a(x_pa.detach())) + hinge_discriminator(d_p(x_p), d_p(x_ap.detach()))
    d_loss.backward()
    steps.update(players, "discriminators")
    rows = batch["labelled"].nonzero().flatten()
    terms = {
        "segmentation": soft_dice(seg[rows], batch["label"][rows]),
        "reconstruction": absolute_error(x_pp, x_p) + absolute_error(x_aa, x_a),
        "latent": absolute_error(code_ap_again, code_ap)
        + absolute_error(code_pp, code_p)
        + absolute_error(c_pa, c_p)
        + absolute_error(c_aa, c_a),
        "cycle": absolute_error(x_apa, x_a),
        "adversarial": hinge_generator(d_a(x_pa)) + hinge_generator(d_p(x_ap)),
    }
    steps.weighted(players, "generators", terms).backward()
    steps.update(players, "generators")
    return steps.named("discriminators", {"adversarial": d_loss}) | steps.named("generators", terms)


STEPS = {"ours": ours, "reference": reference}


def prepare(task: Task, variant: str) -> tuple[dict[str, nn.Module], Batch]:
    """Networks and batch of a variant."""
    nets = networks(task)
    for module in nets.values():
        if variant == "reference":
            make_naive(module)
        else:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs
    return nets, batch_of(task)


def gradients(task: Task, variant: str) -> tuple[Terms, Terms]:
    """Terms, and both players' gradients at the same weights.

    In double precision, since rounding flips signs in the L1 terms, and without power iterations, so that calls agree.
    """
    nets, batch = prepare(task, variant)
    batch = steps.double(nets, batch)
    for module in nets.values():
        module.eval()
    players = make_players(nets, steps.frozen)
    found = steps.record_gradients(nets, players)
    torch.manual_seed(1)
    return STEPS[variant](nets, batch, players), found


def measure(task: Task, variant: str, count: int) -> dict[str, float]:
    """Best step time, share of the optimisers, operations and peak memory of one variant, in this process."""
    nets, batch = prepare(task, variant)
    players = make_players(nets)
    clock = Stopwatch()
    clock.watch(player.optimizer for player in players.values())
    with FlopCounterMode(display=False) as counter:
        STEPS[variant](nets, batch, players)
    times, shares = [], []
    for _ in range(count):
        clock.seconds = 0.0
        times.append(steps.seconds(lambda: STEPS[variant](nets, batch, players)))
        shares.append(clock.seconds / times[-1])
    return {
        "seconds": min(times),
        "pairs_per_second": task["n"] / min(times),
        "optimiser_share": min(shares),
        "gflop": counter.get_total_flops() / 1e9,
        "peak_memory_gb": steps.peak_memory(),
    }


CONFIGS = ROOT / "bundles" / "brain_mri_genseg_segmentation" / "configs"


def trainer_of(task: Task, folder: Path, iterations: int) -> AlternatingTrainer:
    """The bundle's own trainer at full size, reading and augmenting random slices from disk."""
    rng = np.random.default_rng(0)
    channels, size, n = task["channels"], task["size"], task["n"]
    lists = {}
    for key in ("training", "training_absence", "validation"):
        images = rng.uniform(-1, 1, (2 * n, channels, *size)).astype(np.float16)
        write_stack(folder / f"{key}.npy", [images], images.shape, np.float16)
        labels = (images[:, 0] > 0.6).astype(np.uint8)
        write_stack(folder / f"{key}_label.npy", [labels], labels.shape, np.uint8)
        names = {"image": f"{key}.npy", "label": f"{key}_label.npy"}
        lists[key] = [{**names, "index": k, "case": key} for k in range(2 * n)]
    write_datalist(
        folder / "datalist.json",
        lists,
        name="random",
        description="random",
        recipe={"method": "genseg", "channels": ["x"] * channels, "labels": ["a", "b"]},
        preparation={},
    )
    parser = ConfigParser()
    overlay = "paper.json" if channels == 4 else "data_cluttered_mnist.json"
    parser.read_config([str(CONFIGS / name) for name in ("train.json", overlay, "no_validation.json")])
    settings = {
        "bundle_root": str(CONFIGS.parent),
        "dataset_dir": str(folder),
        "run_dir": str(folder),
        "width": task["width"],
        "discriminator_widths": list(task["discriminator_widths"]),
        "image_size": list(size),
        "batch_size": n,
        "labelled_per_batch": 0,
        "batches_per_epoch": iterations,
        "epochs": 1,
        "train#handlers": [],
    }
    for key, value in settings.items():
        parser[key] = value
    return parser.get_parsed_content("train#trainer")


def outside_share(task: Task, iterations: int = 3) -> dict[str, float]:
    """Shares of an iteration spent in loading with augmentation, and in the optimisers."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(task, Path(folder), iterations)
        loading, optimisers, everything = Stopwatch(), Stopwatch(), Stopwatch()
        trainer.add_event_handler(Events.GET_BATCH_STARTED, loading.start)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, loading.stop)
        optimisers.watch(player.optimizer for player in trainer.players)
        trainer.add_event_handler(Events.GET_BATCH_STARTED, everything.start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, everything.stop)
        trainer.run()
    return {
        "loading": loading.seconds / everything.seconds,
        "optimisers": optimisers.seconds / everything.seconds,
    }


def main(
    count: Annotated[int, typer.Option("--steps", help="Timed steps after a first one.")] = 5,
    rounds: Annotated[int, typer.Option(help="Processes per variant, taking turns; the fastest counts.")] = 2,
    threads: Annotated[int, typer.Option(help="Threads; default all.")] = 0,
    task: Annotated[str, typer.Option(help="Task of a child process.")] = "",
    variant: Annotated[str, typer.Option(help="Variant of a child process.")] = "",
) -> None:
    """Measure both tasks."""
    if threads:
        torch.set_num_threads(threads)
    if variant:
        print(json.dumps(measure(TASKS[task], variant, count)))
        return
    figures: dict[str, Any] = {"matrix_gflops": steps.matrix_rate()}
    for name, sized in TASKS.items():
        row: dict[str, Any] = {"difference": steps.difference(gradients(sized, "ours"), gradients(sized, "reference"))}
        options = ["--task", name, "--steps", count, "--threads", threads]
        row |= steps.fastest("benchmarks.genseg_step", VARIANTS, rounds, options)
        row["speed_ratio"] = row["reference"]["seconds"] / row["ours"]["seconds"]
        for which in VARIANTS:
            row[which]["share_of_matrix_rate"] = row[which]["gflop"] / row[which]["seconds"] / figures["matrix_gflops"]
        row["outside_the_networks"] = outside_share(sized)
        figures[name] = row
        print(name, json.dumps(row, indent=1))
    print(write_result("genseg_step", "random images", [0], figures))


if __name__ == "__main__":
    typer.run(main)
