"""Training runs and inference side by side, each in a process of one thread, as far as they are not done yet."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import TimeLimit
from transeg.bundle.runs import STATE
from transeg.demo.steps import bundle_arguments, run_dir_arguments

CURVE = "curve.jsonl"


class EndAfter(TimeLimit):
    """Ends a training run at the end of the epoch in which the time has passed."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)


class Curve:
    """Writes the metrics of each validation, a line each."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write a line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"epoch": engine.state.epoch, **engine.state.metrics}, default=float) + "\n")


WRITE_CURVE = {"_target_": "benchmarks.side_by_side.Curve", "path": f"$@run_dir + '/{CURVE}'"}


@dataclass
class Training:
    """A training run of a bundle.

    Args:
        run: run folder; its log and the handlers lie beside it.
        bundle: folder of the bundle.
        data: prepared data.
        overlays: files in the configs, after train.json.
        settings: of the configs, by key.
        handlers: further ones of the trainer.
        val_handlers: further ones of the evaluator.
    """

    run: Path
    bundle: Path
    data: Path
    overlays: Sequence[str]
    settings: Mapping[str, object]
    handlers: list[dict[str, Any]] = field(default_factory=list)
    val_handlers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> Path:
        """Exists once the run has ended."""
        return self.run.parent / f"{self.run.name}.done"

    def start(self, seconds: float) -> subprocess.Popen:
        """Start it, or go on with it; it ends after a time."""
        limit = {"_target_": "benchmarks.side_by_side.EndAfter", "limit_sec": round(seconds)}
        handlers = {"+train#handlers": [*self.handlers, limit], "+validate#handlers": self.val_handlers}
        overlay = self.run.parent / f"{self.run.name}.json"
        overlay.parent.mkdir(parents=True, exist_ok=True)
        overlay.write_text(json.dumps(handlers))
        files = [self.bundle / "configs" / name for name in ("train.json", *self.overlays)]
        options = [part for key, value in self.settings.items() for part in (f"--{key}", value)]
        command = bundle_arguments("training", [*files, overlay], *run_dir_arguments(self.run))
        return start([*command, "--dataset_dir", self.data, *options], log_of(self.run))


def train(trainings: Sequence[Training], minutes: float, at_once: int = 0) -> None:
    """Run all that are not done, so many at a time (0: all), each for a time."""
    waiting = [training for training in trainings if not training.done.is_file()]
    for group in groups(waiting, at_once):
        wait({training.run: training.start(60 * minutes) for training in group})
        for training in group:
            training.done.touch()


def segment(
    jobs: Mapping[Path, tuple[Path, Path]], at_once: int = 0, options: Mapping[Path, Sequence] | None = None
) -> None:
    """Write the masks of test patients.

    Args:
        jobs: folder of the masks to run folder and prepared data.
        at_once: so many at a time; 0: all.
        options: further ones of the inference, by folder of the masks.
    """
    for group in groups(list(jobs), at_once):
        started = {}
        for out in group:
            run, data = jobs[out]
            own = ["--dataset_dir", data, "--output_dir", out, *(options or {}).get(out, ())]
            command = bundle_arguments("inferring", [run / "configs" / "inference.json"], *own)
            out.parent.mkdir(parents=True, exist_ok=True)
            started[out] = start(command, log_of(out))
        wait(started)


def groups(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Parts of a size, the last one perhaps smaller; 0: all at once."""
    size = size or max(len(items), 1)
    yield from (items[first : first + size] for first in range(0, len(items), size))


def log_of(folder: Path) -> Path:
    """Log of what fills a folder."""
    return folder.parent / f"{folder.name}.log"


def start(arguments: Iterable[object], log: Path) -> subprocess.Popen:
    """Start a Python command of one thread, with a log."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("a") as file:
        return subprocess.Popen([sys.executable, *map(str, arguments)], stdout=file, stderr=file, env=environment)


def wait(processes: Mapping[Path, subprocess.Popen]) -> None:
    """Wait for all, by the folder that each fills, or end them when one fails.

    Raises:
        RuntimeError: one failed.
    """
    running = dict(processes)
    while running:
        time.sleep(0.2)
        for path, process in list(running.items()):
            code = process.poll()
            if code is not None:
                del running[path]
            if code:
                for other in running.values():
                    other.kill()
                raise RuntimeError(f"{path} failed: {log_of(path).read_text()[-1500:]}")


def read_curve(run: Path) -> list[dict[str, float]]:
    """What `Curve` has written."""
    return [
        {key: round(value, 3) for key, value in json.loads(line).items()}
        for line in (run / CURVE).read_text().splitlines()
    ]


def updates(run: Path) -> int:
    """How often a finished training run has updated its networks."""
    return torch.load(run / STATE, map_location="cpu", weights_only=True)["iteration"]
