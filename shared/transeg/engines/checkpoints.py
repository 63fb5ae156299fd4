"""The state of a training run between two epochs: collect, restore, and a handler that saves and loads it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.handlers import ValidationHandler

from transeg.engines.trainer import AlternatingTrainer
from transeg.engines.weights import save_atomically
from transeg.errors import DataError

logger = logging.getLogger(__name__)


class ScoredState(Protocol):
    """What MONAI adds to the state of its engines."""

    key_metric_name: str | None
    best_metric: float
    best_metric_epoch: int  # -1 for none


def training_state(trainer: AlternatingTrainer) -> dict[str, Any]:
    """Everything a resumed run needs, between two epochs: live tensors and plain Python."""
    state = {
        "epoch": trainer.state.epoch,
        "iteration": trainer.state.iteration,
        "seed": trainer.seed,
        "networks": {name: module.state_dict() for name, module in trainer.networks.items()},
        "players": {player.name: player.state_dict() for player in trainer.players},
        "scaler": trainer.grad_scaler.state_dict(),
        "best": [
            {"metric": float(state.best_metric), "epoch": state.best_metric_epoch} for state in scored_states(trainer)
        ],
    }
    if hasattr(trainer.objective, "state_dict"):
        state["objective"] = trainer.objective.state_dict()
    return state


def load_training_state(trainer: AlternatingTrainer, state: Mapping[str, Any]) -> None:
    """Restore what `training_state` returned.

    Raises:
        ValueError, KeyError: the state has other networks, parameters or players.
    """
    players = {player.name: player for player in trainer.players}
    for kind, mine in (("networks", trainer.networks), ("players", players)):
        if state[kind].keys() != mine.keys():
            raise ValueError(f"it has the {kind} {sorted(state[kind])}, the trainer has {sorted(mine)}")
    if state["epoch"] > trainer.state.max_epochs:
        raise ValueError(f"it is from epoch {state['epoch']}, but max_epochs is {trainer.state.max_epochs}")
    if state["seed"] != trainer.seed:
        trainer.logger.warning(
            f"Resuming with the checkpoint's seed {state['seed']}; configured seed {trainer.seed} ignored."
        )
    for kind, mine in (("networks", trainer.networks), ("players", players)):
        for name, part in mine.items():
            try:
                part.load_state_dict(state[kind][name])
            except (RuntimeError, ValueError) as error:  # torch lists every key
                reason = " ".join(str(error).split())
                raise ValueError(f"{kind[:-1]} '{name}': {reason[:400]}") from error
    if trainer.grad_scaler.is_enabled() and state["scaler"]:
        trainer.grad_scaler.load_state_dict(state["scaler"])
    if "objective" in state and hasattr(trainer.objective, "load_state_dict"):
        trainer.objective.load_state_dict(state["objective"])
    for scored, best in zip(scored_states(trainer), state["best"], strict=False):
        scored.best_metric, scored.best_metric_epoch = best["metric"], best["epoch"]
    trainer.seed = state["seed"]
    trainer.state.epoch = state["epoch"]
    length = trainer.state.epoch_length  # may have changed with the data or the batch size
    trainer.state.iteration = state["epoch"] * length if length else state["iteration"]


def scored_states(trainer: AlternatingTrainer) -> list[ScoredState]:
    """States with a best metric: the trainer's, and those of the evaluators run by its validation handlers."""
    validations = [handler for handler in trainer.train_handlers if isinstance(handler, ValidationHandler)]
    engines = [trainer, *(handler.validator for handler in validations if handler.validator is not None)]
    return [cast(ScoredState, engine.state) for engine in engines]


class TrainingState:
    """Saves the complete training state every ``interval`` epochs and at the end; resumes from it.

    It saves after all other handlers at the end of an epoch, including validation, whatever its place in the list.
    An interrupted epoch is repeated from its start. MONAI's `CheckpointSaver` and `CheckpointLoader` save in the order
    of the list, know no best metric of evaluators, and load whatever keys they find.

    Args:
        path: file for the state.
        interval: epochs between saves.
        resume: at the start, resume from ``path`` if it exists.

    Raises:
        DataError: at the start, if the file cannot be read or does not match the trainer.
    """

    def __init__(self, path: str | os.PathLike, interval: int = 1, resume: bool = False) -> None:
        if interval < 1:
            raise ValueError(f"TrainingState: interval must be at least 1, got {interval}.")
        self.path, self.interval, self.resume = Path(path), interval, resume
        self._started = False
        self._saved_epoch = -1

    def attach(self, engine: AlternatingTrainer) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.COMPLETED, self._save)

    def _start(self, engine: AlternatingTrainer) -> None:
        if self._started:  # federated rounds start the same trainer repeatedly
            return
        self._started = True
        engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self._save)
        if not self.resume:
            return
        found = idist.all_reduce(int(self.path.exists()))
        if found not in (0, idist.get_world_size()):
            raise DataError(
                f"{self.path} exists on {found} of {idist.get_world_size()} ranks; use storage shared by all ranks."
            )
        if found:
            self._load(engine)

    def _load(self, engine: AlternatingTrainer) -> None:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise DataError(
                f"{self.path} cannot be read as a training state ({error}); delete it to start from scratch."
            ) from error
        try:
            load_training_state(engine, state)
        except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{self.path} does not fit this training run: {error}. Use the configuration it was saved with, "
                "or delete it to start from scratch."
            ) from error
        self._saved_epoch = engine.state.epoch
        logger.info("Resumed from %s after epoch %d.", self.path, engine.state.epoch)

    def _save(self, engine: AlternatingTrainer) -> None:
        length = engine.state.epoch_length
        complete = not length or engine.state.iteration % length == 0  # False if the run was ended within an epoch
        if idist.get_rank() == 0 and complete and engine.state.epoch != self._saved_epoch:
            save_atomically(training_state(engine), self.path)
            self._saved_epoch = engine.state.epoch
