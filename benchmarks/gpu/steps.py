"""A training step of every bundle at the paper's size: milliseconds, kernels, how busy the GPU is, and memory.

In single precision (convolutions in TF32 on a GPU), in bf16, and in bf16 with the step alone replayed as a CUDA graph
or with compiled networks. A variant that does not run is recorded with its error.

The steps are those of the trainer that the configs describe, on one batch of squares on noise again and again: an epoch
to warm up, one that is timed, and a few steps that are profiled (which takes far longer than they do). A graph holds
one batch, all of it labelled, and no augmentation.

    python -m benchmarks.gpu.steps WORK [--small]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from ignite.engine import Events
from monai.bundle import ConfigParser
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from transeg.bundle.package import bundle_folder, find_bundles
from transeg.data.recipe import bundle_recipe
from transeg.engines.step import Step
from transeg.engines.trainer import AlternatingTrainer
from transeg.methods.genseg import objective as genseg

from benchmarks.results import ROOT, write_result
from benchmarks.squares import SMALLEST, write_squares

CUDA = torch.cuda.is_available()
VARIANTS = ("fp32", "bf16", "graph", "compiled")
STEPS = 10 if CUDA else 2
PROFILED = 2


def make_trainer(bundle: str, work: Path, small: bool, variant: str) -> tuple[AlternatingTrainer, dict[str, Tensor]]:
    """The trainer of a bundle's configs, without handlers, and a batch."""
    root, data = bundle_folder(bundle), work / bundle
    files = ["train.json", *([] if small else ["paper.json"])]
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / name) for name in files])
    parser.update({"bundle_root": str(root), "dataset_dir": str(data), "run_dir": str(data / "run")})
    precision = None if variant == "fp32" else "bf16"
    parser.update({"precision": precision, "batches_per_epoch": 1, "epochs": 3, "train#handlers": []})
    if small:
        parser.update({key: value for key, value in {**SMALLEST, "batch_size": 2}.items() if key in parser})
    recipe = bundle_recipe(root) | ({} if small else {"image_size": parser["image_size"]})
    write_squares(data, recipe, count=parser["batch_size"], labelled=parser["batch_size"])
    trainer = parser.get_parsed_content("train#trainer")
    if variant == "compiled":
        for network in trainer.networks.values():
            network.compile()
    return trainer, next(iter(trainer.data_loader))


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
        if engine.state.epoch == 2:
            figures["ms"] = round(1e3 * (time.perf_counter() - clock[0]) / STEPS, 2)

    def end_profile(engine: AlternatingTrainer) -> None:
        if engine.state.iteration == 2 * STEPS + PROFILED:
            _synchronise()
            profiler.stop()
            engine.terminate()

    trainer.add_event_handler(Events.EPOCH_STARTED, begin)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, end_profile)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, end)
    trainer.run()
    return figures | _profiled(profiler, figures["ms"])


def _profiled(profiler: profile, milliseconds: float) -> dict[str, Any]:
    """Kernels (on a CPU: operators) of a step; on a GPU also its work and how often Python waits for it."""
    events = profiler.key_averages()
    kernels = [e for e in events if (e.device_type == DeviceType.CUDA if CUDA else e.key.startswith("aten::"))]
    figures: dict[str, Any] = {"kernels": round(sum(e.count for e in kernels) / PROFILED)}
    if CUDA:
        work = sum(e.self_device_time_total for e in kernels) / 1e3 / PROFILED
        waits = sum(e.count for e in events if e.key == "cudaStreamSynchronize") / PROFILED
        figures |= {"gpu_ms": round(work, 2), "gpu_busy": round(work / milliseconds, 3), "waits": waits}
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


def measure(bundle: str, work: Path, small: bool, variant: str) -> dict[str, Any]:
    """Figures of one variant."""
    trainer, batch = make_trainer(bundle, work, small, variant)
    figures = (measure_graph if variant == "graph" else measure_trainer)(trainer, batch)
    if CUDA:
        figures["memory_gb"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return figures


def run_variant(bundle: str, work: Path, small: bool, variant: str, seconds: float) -> dict[str, Any]:
    """`measure` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gpu.steps", str(work), "--variant", f"{bundle} {variant}"]
    try:
        options = ["--small"] if small else []
        run = subprocess.run([*command, *options], capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {seconds:.0f} s"}
    lines = run.stdout.splitlines()
    return json.loads(lines[-1]) if run.returncode == 0 and lines else {"error": run.stderr.strip()[-400:]}


def main(
    work: Annotated[Path, typer.Argument(help="Folder for prepared data.")],
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
    figures: dict[str, dict[str, Any]] = {root.name: {} for root in find_bundles(ROOT / "bundles")}
    size = "small" if small else "the paper's size"
    for name in variants.split(","):
        for bundle in figures:
            figures[bundle][name] = run_variant(bundle, work, small, name, seconds)
            print(bundle, name, figures[bundle][name], flush=True)
            path = write_result("gpu_steps", f"squares on noise, {size}", [0], figures)  # what there is so far
    print(path)


if __name__ == "__main__":
    typer.run(main)
