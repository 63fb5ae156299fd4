"""What a checkpoint for a true resume costs at full size: seconds to save and to load beside the steps of an epoch.

python -m benchmarks.resume
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
import typer
from transeg.engines.checkpoints import TrainingState, training_state
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer
from transeg.engines.weights import save_atomically
from transeg.methods.genseg.objective import GenSegObjective

from benchmarks.genseg_step import TASKS, networks, ours, prepare
from benchmarks.results import write_result

PRESENCE_SLICES = {"brain 240x120, 4+4": 7729 * 8 // 10, "48 px, 20+20": 59500}  # training slices of the paper


def trainer_of(task: dict) -> AlternatingTrainer:
    """A trainer at full size whose optimisers hold their moments."""
    nets = networks(task)
    groups = {"discriminators": [nets["d_a"], nets["d_p"]], "generators": [nets["generator"]]}
    players = []
    for name, modules in groups.items():
        parameters = [p for module in modules for p in module.parameters()]
        optimiser = torch.optim.Adam(parameters, 1e-3, (0.5, 0.999), weight_decay=1e-4, amsgrad=True)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
        players.append(Player(name, modules, optimiser, {"adversarial": 1.0}))
    return AlternatingTrainer("cpu", 1, [0], nets["generator"], GenSegObjective(), players, nets, epoch_length=1)


def main(steps: int = 2) -> None:
    """Measure both tasks."""
    figures = {}
    for name, task in TASKS.items():
        nets, batch, update = prepare(task, "ours")
        ours(nets, batch, update)
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            ours(nets, batch, update)
            times.append(time.perf_counter() - start)
        trainer = trainer_of(task)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "train_state.pt"
            start = time.perf_counter()
            save_atomically(training_state(trainer), path)
            save = time.perf_counter() - start
            size = path.stat().st_size / 2**20
            start = time.perf_counter()
            TrainingState(path, resume=True)._load(trainer)
            load = time.perf_counter() - start
        epoch = min(times) * PRESENCE_SLICES[name] / task["n"]
        figures[name] = {
            "save_seconds": save,
            "load_seconds": load,
            "megabytes": size,
            "epoch_seconds": epoch,
            "share_of_epoch": save / epoch,
            "epoch_seconds_at_which_it_is_5_percent": save / 0.05,
        }
        print(name, figures[name])
    print(write_result("resume", "random images", [0], figures))


if __name__ == "__main__":
    typer.run(main)
