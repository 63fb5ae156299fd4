"""Training steps per second with one and two processes of one thread each, run by torchrun.

python -m benchmarks.scaling
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import ignite.distributed as idist
import torch
import typer
from ignite.engine import Events
from transeg.data.datalist import write_datalist, write_stack
from transeg.engines.trainer import AlternatingTrainer

from benchmarks.results import ROOT, write_result

BUNDLE = ROOT / "bundles" / "brain_mri_genseg_segmentation"
CONFIGS = [BUNDLE / "configs" / name for name in ("train.json", "multi_gpu_train.json")]
CHANNELS, SIZE, SLICES = 4, (60, 120), 32
BATCH = 8
RUNS = {
    "one process, batch 8": (1, BATCH),
    "two processes, batch 8 in all": (2, BATCH),
    "two processes, batch 16 in all": (2, 2 * BATCH),
}


class Stopwatch:
    """Trainer handler: shortest wall-clock and processor time of a step, and the gradient exchange within it."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.steps: list[dict[str, float]] = []
        self.start = self.processor = self.exchange = 0.0

    def attach(self, engine: AlternatingTrainer) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.GET_BATCH_STARTED, self._begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._end)
        engine.add_event_handler(Events.COMPLETED, self._write)
        for player in engine.players:
            player.average_gradients = self._timed(player.average_gradients)  # type: ignore[method-assign]

    def _begin(self) -> None:
        self.start, self.processor, self.exchange = time.perf_counter(), time.process_time(), 0.0

    def _end(self) -> None:
        seconds = {"step": time.perf_counter() - self.start, "processor": time.process_time() - self.processor}
        self.steps.append(seconds | {"exchange": self.exchange})

    def _timed(self, function: Callable[[], None]) -> Callable[[], None]:
        def timed() -> None:
            start = time.perf_counter()
            function()
            self.exchange += time.perf_counter() - start

        return timed

    def _write(self) -> None:
        if idist.get_rank() == 0:
            fastest = min(self.steps, key=lambda seconds: seconds["step"])
            least = {"processor": min(seconds["processor"] for seconds in self.steps)}
            self.path.write_text(json.dumps(fastest | least))


def write_noise(folder: Path) -> None:
    """Slices of noise in the format of prepared data."""
    image = torch.randn(SLICES, CHANNELS, *SIZE).clamp(-1, 1).half().numpy()
    label = (torch.rand(SLICES, *SIZE) > 0.9).to(torch.uint8).numpy()
    write_stack(folder / "images.npy", [image], image.shape, image.dtype)
    write_stack(folder / "labels.npy", [label], label.shape, label.dtype)
    items = [{"image": "images.npy", "index": k, "label": "labels.npy"} for k in range(SLICES)]
    lists = dict.fromkeys(("training", "training_absence", "validation", "validation_absence"), items)
    recipe = {"method": "genseg", "channels": ["noise"] * CHANNELS, "labels": ["background", "noise"]}
    write_datalist(folder / "datalist.json", lists, name="noise", description="Noise.", recipe=recipe, preparation={})


def measure(processes: int, batch: int, steps: int, folder: Path) -> dict[str, float]:
    """Seconds of the fastest step of a training run without validation and output files."""
    path, overlay = folder / "seconds.json", folder / "overlay.json"
    handler = {"_target_": "benchmarks.scaling.Stopwatch", "path": str(path)}
    overlay.write_text(json.dumps({"train#handlers": [handler]}))
    files = "[" + ",".join(f"'{file}'" for file in (*CONFIGS, overlay)) + "]"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    command += ["monai.bundle", "run", "training", "--config_file", files, "--run_dir", str(folder / "run")]
    command += ["--dataset_dir", str(folder), "--epochs", "1", "--batches_per_epoch", str(steps)]
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    environment = {**os.environ, **threads, "CUDA_VISIBLE_DEVICES": ""}
    command += ["--batch_size", str(batch)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return json.loads(path.read_text())


def main(
    steps: Annotated[int, typer.Option(help="Training steps per run.")] = 12,
    repeats: Annotated[int, typer.Option(help="Runs per case, taking turns; the fastest counts.")] = 3,
) -> None:
    """Measure every case and write the result."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    best: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        write_noise(Path(name))
        for _ in range(repeats):
            for case, (processes, batch) in RUNS.items():
                found = measure(processes, batch, steps, Path(name))
                least = min(best.get(case, found)["processor"], found["processor"])
                best[case] = min(best.get(case, found), found, key=lambda seconds: seconds["step"])
                best[case] = best[case] | {"processor": least}
                print(case, found)
    alone = {key: value / BATCH for key, value in best["one process, batch 8"].items()}
    figures: dict[str, Any] = {
        case: {
            "steps_per_second": 1 / seconds["step"],
            "pairs_per_second": RUNS[case][1] / seconds["step"],
            "share_of_exchange": seconds["exchange"] / seconds["step"],
            "speedup": alone["step"] * RUNS[case][1] / seconds["step"],
            "speedup_by_processor_time": alone["processor"] * RUNS[case][1] / seconds["processor"],
        }
        for case, seconds in best.items()
    }
    figures["load_average_of_the_machine"] = os.getloadavg()[1]  # above 2, wall-clock times on two cores mean little
    print(write_result("scaling", f"noise, {SIZE[0]} x {SIZE[1]}, {CHANNELS} channels", [0], figures))


if __name__ == "__main__":
    typer.run(main)
