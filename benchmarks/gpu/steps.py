"""A training step of every bundle at the paper's size: milliseconds, kernels, how busy the GPU is, and memory.

In single precision (convolutions in TF32 on a GPU), in bf16, and in bf16 with the step alone replayed as a CUDA graph
or with compiled networks. A variant that does not run is recorded with its error.

The steps are those of the trainer that the configs describe, on one batch of phantoms again and again: an epoch to warm
up, one that is timed, one that is profiled. A graph holds one batch, all of it labelled, and no augmentation.

    python -m benchmarks.gpu.steps WORK [--small]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import torch.nn.functional as F
import typer
from ignite.engine import Events
from monai.bundle import ConfigParser
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transeg.engines.step import Step
from transeg.engines.trainer import AlternatingTrainer
from transeg.methods.genseg import objective as genseg

from benchmarks.results import ROOT, write_result

CUDA = torch.cuda.is_available()
VARIANTS = ("fp32", "bf16", "graph", "compiled")
STEPS = 10 if CUDA else 2


class Data(NamedTuple):
    """Phantoms, their preparation, and settings of the networks for a test."""

    phantoms: str
    preparation: str
    small: Mapping[str, int]


DATA = {
    "brain_mri_genseg_segmentation": Data(
        "brain --cases 8 --shape 64,64,30 --spacing 3,3,5",
        "brats --test 1 --validation 1 --min-brain 0.02 --pixdim 3 --size 64 64",
        {"width": 2, "levels": 3, "discriminator_levels": 2},
    ),
    "brain_mri_pathogan_segmentation": Data(
        "brain --cases 8 --shape 64,64,30 --spacing 3,3,5",
        "brats_slices --test 1 --validation 1 --pixdim 3 --size 64 64",
        {"width": 2, "blocks": 1, "code": 8, "discriminator_layers": 1},
    ),
    "thigh_mri_muscle_segmentation": Data(
        "thigh --cases 16 --shape 64,64,8 --spacing 4,4,7",
        "thigh --test 1 --validation 1 --pixdim 4 --size 64 64",
        {"width": 2, "blocks": 1},
    ),
    "cardiac_ct_mr_segmentation": Data(
        "heart --cases 4 --shape 32,32,24 --spacing 5",
        "mmwhs --test 1 --validation 1 --pixdim 5 --size 32 32 24",
        {"width": 2, "segmenter_width": 2, "discriminator_width": 2},
    ),
}


def prepare(bundle: str, work: Path) -> Path:
    """Make small phantoms of a bundle and prepare them."""
    data, raw, out = DATA[bundle], work / bundle / "raw", work / bundle / "data"
    if not (out / "datalist.json").is_file():
        preset, *options = data.preparation.split()
        for command in (
            ["data_prep.phantoms", *data.phantoms.split(), "--out", raw, "--overwrite"],
            [f"data_prep.{preset}", *options, "--data", raw, "--out", out],
        ):
            run = subprocess.run(
                [sys.executable, "-m", *map(str, command)], capture_output=True, text=True, check=False
            )
            if run.returncode:
                raise RuntimeError(f"{bundle}: {run.stderr[-500:]}")
    return out


def make_trainer(bundle: str, data: Path, small: bool, variant: str) -> tuple[AlternatingTrainer, dict[str, Tensor]]:
    """The trainer of a bundle's configs, without handlers, and a batch, enlarged to the size of the configs."""
    configs = ROOT / "bundles" / bundle / "configs"
    parser = ConfigParser()
    parser.read_config([str(configs / name) for name in (["train.json"] if small else ["train.json", "paper.json"])])
    parser.update({"bundle_root": str(configs.parent), "dataset_dir": str(data), "run_dir": str(data / "run")})
    precision = None if variant == "fp32" else "bf16"
    parser.update({"precision": precision, "batches_per_epoch": 1, "epochs": 3, "train#handlers": []})
    if small:
        parser.update({"batch_size": 2, **DATA[bundle].small})
    trainer = parser.get_parsed_content("train#trainer")
    if variant == "compiled":
        for network in trainer.networks.values():
            network.compile()
    size = list(parser.get_parsed_content("image_size"))
    if parser.get_parsed_content("recipe").get("halves"):
        size[0] //= 2
    batch = next(iter(trainer.data_loader))
    return trainer, {key: value if value.dim() < 4 else F.interpolate(value, size) for key, value in batch.items()}


def measure_trainer(trainer: AlternatingTrainer, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Time of steps as the trainer runs them."""
    loader = [batch] * STEPS
    trainer.data_loader, trainer.state.epoch_length = loader, STEPS
    trainer.set_data(loader)
    figures: dict[str, Any] = {}
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if CUDA else [])])
    clock = [0.0]

    def begin(engine: AlternatingTrainer) -> None:
        _synchronise()
        if engine.state.epoch == 3:
            profiler.start()
        clock[0] = time.perf_counter()

    def end(engine: AlternatingTrainer) -> None:
        _synchronise()
        seconds = time.perf_counter() - clock[0]
        if engine.state.epoch == 2:
            figures["ms"] = round(1e3 * seconds / STEPS, 2)
        elif engine.state.epoch == 3:
            profiler.stop()

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end)
    trainer.run()
    return figures | _profiled(profiler, figures["ms"])


def _profiled(profiler: profile, milliseconds: float) -> dict[str, Any]:
    """Kernels (on a CPU: operators) of a step, and the share of its time in which the GPU works."""
    events = profiler.key_averages()
    kernels = [e for e in events if (e.device_type == DeviceType.CUDA if CUDA else e.key.startswith("aten::"))]
    figures: dict[str, Any] = {"kernels": round(sum(e.count for e in kernels) / STEPS)}
    if CUDA:
        work = sum(e.self_device_time_total for e in kernels) / 1e3 / STEPS
        figures |= {"gpu_ms": round(work, 2), "gpu_busy": round(work / milliseconds, 3)}
    return figures


def measure_graph(trainer: AlternatingTrainer, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Time of the step replayed as a CUDA graph; equal to the eager step but for rows that have no mask."""
    batch = trainer.prepare_batch(batch, trainer.state.device)
    for module in trainer.networks.values():
        module.train()
    for player in trainer.players:
        for group in player.optimizer.param_groups:
            group["capturable"] = True
    genseg.supervised = _all_rows  # rows that vary cannot be captured

    def step() -> None:
        Step(trainer.objective, trainer.networks, trainer.players, batch, trainer._phase).run()

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    eager = _milliseconds(step)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return {"ms": _milliseconds(graph.replay), "eager_ms": eager}


def _all_rows(batch: Mapping[str, Tensor], absence: bool) -> tuple[Tensor, Tensor]:
    y = batch["label"]
    if absence:
        y = torch.cat([y, y.new_zeros(len(batch["absence"]), *y.shape[1:])])
    return torch.arange(len(y), device=y.device), y


def _milliseconds(step: Callable[[], object]) -> float:
    step()
    _synchronise()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    _synchronise()
    return round(1e3 * (time.perf_counter() - start) / STEPS, 2)


def _synchronise() -> None:
    if CUDA:
        torch.cuda.synchronize()


def measure(bundle: str, data: Path, small: bool, variant: str) -> dict[str, Any]:
    """Figures of one variant."""
    figures = (measure_graph if variant == "graph" else measure_trainer)(*make_trainer(bundle, data, small, variant))
    if CUDA:
        figures["memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return figures


def run_variant(bundle: str, data: Path, small: bool, variant: str, seconds: float) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu.steps", str(data), "--variant", f"{bundle} {variant}"]
    try:
        options = ["--small"] if small else []
        run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {seconds:.0f} s"}
    lines = run.stdout.splitlines()
    return json.loads(lines[-1]) if run.returncode == 0 and lines else {"error": run.stderr.strip()[-400:]}


def main(
    work: Annotated[Path, typer.Argument(help="Folder for phantoms and prepared data.")],
    small: Annotated[bool, typer.Option("--small", help="Small networks and images, for a test.")] = False,
    seconds: Annotated[float, typer.Option(help="Most time for one variant of one bundle.")] = 90,
    variants: Annotated[str, typer.Option(help="Comma-separated; a CPU has no graphs, and may have no compiler.")] = (
        ",".join(VARIANTS if CUDA else VARIANTS[:2])
    ),
    variant: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure every variant of every bundle."""
    if variant:
        bundle, name = variant.split()
        print(json.dumps(measure(bundle, work, small, name)))
        return
    with ThreadPoolExecutor(len(DATA)) as pool:
        folders = dict(zip(DATA, pool.map(lambda bundle: prepare(bundle, work), DATA), strict=True))
    figures: dict[str, dict[str, Any]] = {bundle: {} for bundle in DATA}
    size = "small" if small else "the paper's size"
    for name in variants.split(","):
        for bundle in DATA:
            figures[bundle][name] = run_variant(bundle, folders[bundle], small, name, seconds)
            print(bundle, name, figures[bundle][name], flush=True)
            path = write_result("gpu_steps", f"phantoms, enlarged to {size}", [0], figures)  # what there is so far
    print(path)


if __name__ == "__main__":
    typer.run(main)
