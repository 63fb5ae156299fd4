"""Step time of GenSeg at full size on a GPU: single precision and bf16 autocast.

python -m benchmarks.genseg_gpu_step --out OUT
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from transeg.engines.step import Step
from transeg.methods.genseg.objective import GenSegObjective
from transeg.networks.spectral import weights_once

from benchmarks.genseg_step import TASKS, Task, make_players, prepare
from benchmarks.results import hardware


def seconds_per_step(task: Task, bf16: bool, count: int = 20) -> float:
    """Best of several steps on the GPU, synchronised."""
    nets, batch = prepare(task, "ours")
    for net in nets.values():
        net.cuda()
    batch = {key: value.cuda() for key, value in batch.items()}
    players = [*make_players(nets).values()]

    @contextmanager
    def phase() -> Iterator[None]:
        with torch.autocast("cuda", torch.bfloat16, enabled=bf16), weights_once():
            yield

    times = []
    for _ in range(count):
        torch.cuda.synchronize()
        start = time.perf_counter()
        Step(GenSegObjective(), nets, players, batch, phase).run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[3:])


def main(out: Annotated[Path, typer.Option(help="Folder for the result.")]) -> None:
    """Measure both tasks, each also with five times the batch, as in the paper."""
    figures: dict[str, Any] = {"hardware": hardware()}
    for name, task in TASKS.items():
        for scale in (1, 5):
            sized: Task = {**task, "n": task["n"] * scale}
            times = {kind: seconds_per_step(sized, kind == "bf16") for kind in ("fp32", "bf16")}
            rates = {kind: sized["n"] / value for kind, value in times.items()}
            figures[f"{name}, x{scale}"] = {"seconds": times, "pairs_per_second": rates}
    out.mkdir(parents=True, exist_ok=True)
    (out / "genseg_step_gpu.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
