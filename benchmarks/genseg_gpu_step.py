"""Step time of GenSeg at full size on a GPU: single precision and bf16 autocast.

python -m benchmarks.genseg_gpu_step --out OUT
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import torch
import typer

from benchmarks.genseg_step import TASKS, ours, prepare
from benchmarks.results import hardware


def seconds_per_step(task: dict, bf16: bool, steps: int = 20) -> float:
    """Best of `steps` on the GPU, synchronised."""
    nets, batch, update = prepare(task, "ours")
    nets = {name: net.cuda() for name, net in nets.items()}
    batch = {key: value.cuda() for key, value in batch.items()}
    times = []
    for _ in range(steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16):
            ours(nets, batch, update)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[3:])


def main(out: Path = typer.Option(..., help="Folder for the result.")) -> None:  # noqa: B008 (typer's idiom)
    """Measure both tasks; each also with five times the batch, as in the paper."""
    figures: dict = {"hardware": hardware()}
    for name, task in TASKS.items():
        for scale in (1, 5):
            sized = {**task, "n": task["n"] * scale}
            times = {kind: seconds_per_step(sized, kind == "bf16") for kind in ("fp32", "bf16")}
            rates = {kind: sized["n"] / value for kind, value in times.items()}
            figures[f"{name}, x{scale}"] = {"seconds": times, "pairs_per_second": rates}
    out.mkdir(parents=True, exist_ok=True)
    (out / "genseg_step_gpu.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
