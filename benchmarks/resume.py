"""Cost of checkpoints for an exact resume at full size: time to save and to load, relative to an epoch.

python -m benchmarks.resume
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from transeg.engines.checkpoints import TrainingState, training_state
from transeg.engines.trainer import AlternatingTrainer
from transeg.engines.weights import save_atomically
from transeg.methods.genseg.objective import GenSegObjective

from benchmarks import steps
from benchmarks.genseg_step import TASKS, Task, make_players, networks, ours, prepare
from benchmarks.results import write_result

PRESENCE_SLICES = {"brain 240x120, 4+4": 7729 * 8 // 10, "48 px, 20+20": 59500}  # training slices of the paper


def trainer_of(task: Task) -> AlternatingTrainer:
    """A trainer at full size whose optimisers have moments."""
    nets = networks(task)
    players = [*make_players(nets).values()]
    for player in players:
        for parameter in player.parameters:
            parameter.grad = torch.zeros_like(parameter)
        player.optimizer.step()
    return AlternatingTrainer("cpu", 1, [0], nets["generator"], GenSegObjective(), players, nets, epoch_length=1)


def measure(task: Task, images: int, count: int) -> dict[str, float]:
    """Time to save and to load, size of the file, and time of an epoch of so many images."""
    nets, batch = prepare(task, "ours")
    players = make_players(nets)
    times = [steps.seconds(lambda: ours(nets, batch, players)) for _ in range(1 + count)]
    trainer = trainer_of(task)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train_state.pt"
        save = steps.seconds(lambda: save_atomically(training_state(trainer), path))
        size = path.stat().st_size / 2**20
        load = steps.seconds(lambda: TrainingState(path, resume=True)._load(trainer))
    epoch = min(times[1:]) * images / task["n"]
    return {
        "save_seconds": save,
        "load_seconds": load,
        "megabytes": size,
        "epoch_seconds": epoch,
        "share_of_epoch": save / epoch,
        "epoch_seconds_at_which_it_is_5_percent": save / 0.05,
    }


def main(count: Annotated[int, typer.Option("--steps", help="Timed steps after a first one.")] = 2) -> None:
    """Measure both tasks."""
    figures = {name: measure(task, PRESENCE_SLICES[name], count) for name, task in TASKS.items()}
    print(json.dumps(figures, indent=1))
    print(write_result("resume", "random images", [0], figures))


if __name__ == "__main__":
    typer.run(main)
