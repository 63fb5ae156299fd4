"""A GenSeg training step beside the same losses written the straightforward way.

The reference calls each network once for each image set and term, upsamples before it convolves, segments every
presence image, computes every spectral norm on each call (torch's own), keeps the input of every activation and
lets the generators' step run through the discriminators' weights, in the default memory format. Values and gradients
must agree to 1e-4.

    python -m benchmarks.genseg_step
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import typer
from ignite.engine import Events
from monai.bundle import ConfigParser
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.flop_counter import FlopCounterMode
from transeg.data.datalist import write_datalist, write_stack
from transeg.engines.trainer import AlternatingTrainer
from transeg.losses.adversarial import hinge_discriminator, hinge_generator
from transeg.losses.reconstruction import absolute_error
from transeg.losses.segmentation import soft_dice
from transeg.methods.genseg.networks import GenSegNet
from transeg.methods.genseg.objective import GenSegObjective
from transeg.networks.blocks import UpsampleConv
from transeg.networks.discriminators import MultiScaleDiscriminator
from transeg.networks.spectral import add_spectral_norm

from benchmarks.results import ROOT, write_result

TASKS = {
    "brain 240x120, 4+4": {
        "n": 4,
        "size": (240, 120),
        "net": {"in_channels": 4, "width": 16, "levels": 5},
        "d": (64, 128, 256, 512),
    },
    "48 px, 20+20": {
        "n": 20,
        "size": (48, 48),
        "net": {"in_channels": 1, "width": 32, "levels": 4},
        "d": (128, 256, 512),
    },
}
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
WEIGHTS = {"segmentation": 0.01, "reconstruction": 50, "latent": 1, "cycle": 50, "adversarial": 3}


def networks(task: Mapping, seed: int = 0) -> dict[str, nn.Module]:
    """Full-size networks of a task, with spectral norm."""
    torch.manual_seed(seed)
    nets: dict[str, nn.Module] = {"generator": GenSegNet(2, **task["net"])}
    for name in ("d_a", "d_p"):
        nets[name] = MultiScaleDiscriminator(2, task["net"]["in_channels"], task["d"])
    return {name: add_spectral_norm(network) for name, network in nets.items()}


def straightforward(network: nn.Module) -> None:
    """Turn off what saves work inside a network: torch's own spectral norm, no activation in place, upsample first."""
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.LeakyReLU):
            module.inplace = False
        elif isinstance(module, UpsampleConv):
            module.low_resolution = False
        elif isinstance(module, CONVOLUTIONS) and parametrize.is_parametrized(module):
            state = module.parametrizations.weight.state_dict()
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)
            spectral_norm(module)
            module.parametrizations.weight.load_state_dict(state)


def batch_of(task: Mapping, seed: int = 0) -> dict[str, Tensor]:
    """Random images; one presence image in ten has a label, at least one."""
    generator = torch.Generator().manual_seed(seed)
    shape = (task["n"], task["net"]["in_channels"], *task["size"])
    labelled = torch.zeros(task["n"], dtype=torch.bool)
    labelled[:: max(task["n"] // 2, 10)] = True
    return {
        "image": torch.rand(shape, generator=generator) * 2 - 1,
        "absence": torch.rand(shape, generator=generator) * 2 - 1,
        "label": (torch.rand(task["n"], 1, *task["size"], generator=generator) > 0.8).float(),
        "labelled": labelled,
    }


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Sum with weights that add up to one."""
    scale = sum(WEIGHTS[name] for name in terms)
    return sum(WEIGHTS[name] * term for name, term in terms.items()) / scale


def ours(nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor], update: Callable) -> dict[str, Tensor]:
    """One step as `AlternatingTrainer` does it."""
    objective = GenSegObjective()
    discriminators = [*nets["d_a"].parameters(), *nets["d_p"].parameters()]
    generators = list(nets["generator"].parameters())
    with parametrize.cached():
        t = objective.forward(nets, batch)
    with parametrize.cached():
        d_loss = objective.discriminators(nets, t)["adversarial"]
    d_loss.backward(inputs=discriminators)
    update("discriminators")
    with parametrize.cached():
        terms = objective.generators(nets, t)
    total(terms).backward(inputs=generators)
    update("generators")
    return {"discriminator": d_loss.detach(), **{k: v.detach() for k, v in terms.items()}}


def reference(nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor], update: Callable) -> dict[str, Tensor]:
    """The same step, one call for each image set and term."""
    net, d_a, d_p = nets["generator"], nets["d_a"], nets["d_p"]
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
    update("discriminators")
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
    total(terms).backward()
    update("generators")
    return {"discriminator": d_loss.detach(), **{k: v.detach() for k, v in terms.items()}}


STEPS = {"ours": ours, "reference": reference}


def prepare(task: Mapping, which: str) -> tuple[dict[str, nn.Module], dict[str, Tensor], Callable]:
    """Networks, batch and a callback that applies one player's update."""
    nets, batch = networks(task), batch_of(task)
    if which == "reference":
        for module in nets.values():
            straightforward(module)
    else:
        for module in nets.values():
            module.to(memory_format=torch.channels_last)
    players = {
        "generators": list(nets["generator"].parameters()),
        "discriminators": [*nets["d_a"].parameters(), *nets["d_p"].parameters()],
    }
    optimisers = {
        name: torch.optim.Adam(p, 1e-3, (0.5, 0.999), weight_decay=1e-4, amsgrad=True) for name, p in players.items()
    }
    spent = {"update": 0.0}

    def update(player: str) -> None:
        start = time.perf_counter()
        optimisers[player].step()
        for optimiser in optimisers.values() if which == "reference" else [optimisers[player]]:
            optimiser.zero_grad()
        spent["update"] += time.perf_counter() - start

    update.spent = spent
    return nets, batch, update


def gradients(task: Mapping, which: str) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Terms, and both players' gradients, before any update.

    In double precision, since rounding flips signs in the L1 terms; power iterations off, so that calls do not differ.
    """
    nets, batch, _ = prepare(task, which)
    for module in nets.values():
        module.double().eval()
    batch = {key: value.double() if value.is_floating_point() else value for key, value in batch.items()}
    found: dict[str, Tensor] = {}

    def collect(player: str) -> None:
        names = ["generator"] if player == "generators" else ["d_a", "d_p"]
        for name in names:
            for key, parameter in nets[name].named_parameters():
                if parameter.grad is not None:
                    found[f"{name}.{key}"] = parameter.grad.clone()
                parameter.grad = None

    torch.manual_seed(1)
    terms = STEPS[which](nets, batch, collect)
    return {k: v.item() for k, v in terms.items()}, found


def compare(task: Mapping) -> dict[str, float]:
    """Largest relative difference of terms, and of gradients relative to the largest gradient."""
    (terms, grads), (terms_ref, grads_ref) = gradients(task, "ours"), gradients(task, "reference")
    if grads.keys() != grads_ref.keys():
        raise AssertionError(f"different parameters got gradients: {grads.keys() ^ grads_ref.keys()}")
    scale = max(g.abs().max().item() for g in grads_ref.values())
    found = {
        "terms": max(abs(terms[k] - terms_ref[k]) / max(abs(terms_ref[k]), 1e-6) for k in terms_ref),
        "gradients": max((grads[k] - g).abs().max().item() for k, g in grads_ref.items()) / scale,
    }
    if max(found.values()) > 1e-4:
        raise AssertionError(f"not the same step: {found}")
    return found


def measure(task: Mapping, which: str, steps: int) -> dict[str, float]:
    """Best step time, share of the optimisers, operations and peak memory of one variant, in this process."""
    nets, batch, update = prepare(task, which)
    with FlopCounterMode(display=False) as counter:
        STEPS[which](nets, batch, update)
    times, shares = [], []
    for _ in range(steps):
        update.spent["update"] = 0.0
        start = time.perf_counter()
        STEPS[which](nets, batch, update)
        times.append(time.perf_counter() - start)
        shares.append(update.spent["update"] / times[-1])
    return {
        "seconds": min(times),
        "pairs_per_second": task["n"] / min(times),
        "optimiser_share": min(shares),
        "gflop": counter.get_total_flops() / 1e9,
        "peak_memory_gb": peak_memory(),
    }


CONFIGS = ROOT / "bundles" / "brain_mri_genseg_segmentation" / "configs"


def trainer_of(task: Mapping, folder: Path, iterations: int) -> AlternatingTrainer:
    """The bundle's own trainer at full size, reading and augmenting random slices from disk."""
    rng = np.random.default_rng(0)
    channels, size, n = task["net"]["in_channels"], task["size"], task["n"]
    lists = {}
    for key in ("training", "training_absence", "validation"):
        images = rng.uniform(-1, 1, (2 * n, channels, *size)).astype(np.float16)
        write_stack(folder / f"{key}.npy", [images], images.shape, np.float16)
        labels = (images[:, 0] > 0.6).astype(np.uint8)
        write_stack(folder / f"{key}_label.npy", [labels], labels.shape, np.uint8)
        names = {"image": f"{key}.npy", "label": f"{key}_label.npy"}
        lists[key] = [{**names, "index": k, "case": key} for k in range(2 * n)]
    recipe = {"method": "genseg", "channels": ["x"] * channels, "labels": ["a", "b"]}
    about = {"name": "random", "description": "random", "recipe": recipe}
    write_datalist(folder / "datalist.json", lists, **about, preparation={})
    parser = ConfigParser()
    overlay = "paper.json" if channels == 4 else "data_cluttered_mnist.json"
    parser.read_config([str(CONFIGS / name) for name in ("train.json", overlay, "no_validation.json")])
    settings = {
        "bundle_root": str(CONFIGS.parent),
        "dataset_dir": str(folder),
        "ckpt_dir": str(folder),
        "output_dir": str(folder),
        "width": task["net"]["width"],
        "discriminator_widths": list(task["d"]),
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


def outside_share(task: Mapping, iterations: int = 3) -> dict[str, float]:
    """Shares of an iteration that go to loading and augmentation, and to the optimisers."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_of(task, Path(folder), iterations)
        clock = {"loading": 0.0, "optimisers": 0.0, "all": 0.0}

        def timed(kind: str) -> tuple[Callable, Callable]:
            def start(*_: object) -> None:
                clock[kind] -= time.perf_counter()

            def stop(*_: object) -> None:
                clock[kind] += time.perf_counter()

            return start, stop

        start, stop = timed("loading")
        trainer.add_event_handler(Events.GET_BATCH_STARTED, start)
        trainer.add_event_handler(Events.GET_BATCH_COMPLETED, stop)
        start, stop = timed("optimisers")
        for player in trainer.players:
            player.optimizer.register_step_pre_hook(start)
            player.optimizer.register_step_post_hook(stop)
        start, stop = timed("all")
        trainer.add_event_handler(Events.GET_BATCH_STARTED, start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, stop)
        trainer.run()
    return {"loading": clock["loading"] / clock["all"], "optimisers": clock["optimisers"] / clock["all"]}


def peak_memory() -> float:
    """Peak resident memory of this process in GB; unlike getrusage it does not begin with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 2**20


def matrix_rate(size: int = 3072, repeats: int = 6) -> float:
    """Measured rate of single-precision matrix products in GFLOP/s."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


app = typer.Typer(add_completion=False)


@app.command()
def main(steps: int = 5, rounds: int = 2, only: str = "", variant: str = "", threads: int = 0) -> None:
    """Measure both tasks; --only and --variant serve the child processes that measure memory."""
    if threads:
        torch.set_num_threads(threads)
    if variant:
        print(json.dumps(measure(TASKS[only], variant, steps)))
        return
    figures: dict = {"matrix_gflops": matrix_rate()}
    for name, task in TASKS.items():
        row: dict = {"difference": compare(task)}
        for which in ("reference", "ours") * rounds:  # in turns: the speed of the machine drifts
            command = [sys.executable, "-m", "benchmarks.genseg_step", "--only", name, "--variant", which]
            command += ["--steps", str(steps), "--threads", str(threads)]
            out = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if which not in row or out["seconds"] < row[which]["seconds"]:
                row[which] = out
        row["speed_ratio"] = row["reference"]["seconds"] / row["ours"]["seconds"]
        for which in STEPS:
            row[which]["share_of_matrix_rate"] = row[which]["gflop"] / row[which]["seconds"] / figures["matrix_gflops"]
        row["outside_the_networks"] = outside_share(task)
        figures[name] = row
        print(name, json.dumps(row, indent=1))
    print(write_result("genseg_step", "random images", [0], figures))


if __name__ == "__main__":
    app()
