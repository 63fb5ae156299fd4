"""Trainings in phases, such as pre-training before players train together: the epoch alone decides who plays."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from ignite.engine import Events

from transeg.engines.checkpoints import scored_engines
from transeg.engines.trainer import AlternatingTrainer

logger = logging.getLogger(__name__)

KEYS = ("epochs", "players", "objective", "weights", "patience")


class Phases:
    """Chooses at the start of each epoch who plays, what the objective computes and what its terms weigh.

    It has no memory, so a training goes on from any checkpoint; `TrainingState` comes before it in the list of
    handlers. Every player's schedule counts all epochs of the training, whoever plays. What is best in validation is
    forgotten where a phase begins, so that `BestModelSaver` and ``patience`` look at the present phase alone.

    Args:
        phases: one after the other, each with some of

            - "epochs": how many (0 leaves the phase out); the last phase has none, it lasts until the training ends;
            - "players": names of those who play, default all, in the trainer's order;
            - "objective": values of attributes of the objective; an attribute that a phase does not name has the value
              that it was made with. An objective may have a method ``check()`` that raises ValueError for values that
              do not go together;
            - "weights": player to term to weight, in place of the player's own weights. Needed where the objective
              computes other terms in this phase than in the others, and used as they are;
            - "patience": end the training when the key metric of validation has not improved for so many epochs.

    Raises:
        ValueError: phases that are none; when attached, such as do not fit the trainer.
    """

    def __init__(self, phases: Sequence[Mapping[str, Any]]) -> None:
        self.phases = [dict(phase) for phase in phases]
        if not self.phases:
            raise ValueError("Phases: at least one phase is needed.")
        for number, phase in enumerate(self.phases, 1):
            _check_entry(f"Phase {number}", phase, last=number == len(self.phases))
        self._first = list(accumulate((phase["epochs"] for phase in self.phases[:-1]), initial=1))
        self._attributes: dict[str, Any] = {}
        self._weights: dict[str, dict[str, float]] = {}

    def attach(self, engine: AlternatingTrainer) -> None:
        """Register with a trainer."""
        names = {name for phase in self.phases for name in phase.get("objective", {})}
        self._weights = {player.name: player.weights for player in engine.players}
        for number, phase in enumerate(self.phases, 1):
            _check_fit(f"Phase {number}", phase, engine)
        self._attributes = {name: getattr(engine.objective, name) for name in sorted(names)}
        for phase in reversed(self.phases):  # ends with the first one
            self._set_objective(engine, phase)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._enter)

    def _start(self, engine: AlternatingTrainer) -> None:
        if not engine.has_event_handler(self._stop, Events.EPOCH_COMPLETED):  # only now, to look after validation
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)
            if engine.state.epoch > 0:  # resumed, perhaps from where patience had ended
                self._stop(engine)
        if self._first[-1] > engine.state.max_epochs:
            logger.warning(
                "The last phase begins with epoch %d, but the training ends with %d.",
                self._first[-1],
                engine.state.max_epochs,
            )

    def _enter(self, engine: AlternatingTrainer) -> None:
        index = self._index(engine)
        phase = self.phases[index]
        played = phase.get("players", self._weights.keys())
        engine.active_players = [player for player in engine.players if player.name in played]
        for player in engine.players:
            player.weights = phase.get("weights", {}).get(player.name, self._weights[player.name])
        self._set_objective(engine, phase)
        if engine.state.epoch == self._first[index]:
            for scored in scored_engines(engine):
                scored.state.best_metric_epoch = -1  # how MONAI says that there is none
            names = ", ".join(player.name for player in engine.active_players)
            logger.info("Phase %d of %d from epoch %d: %s.", index + 1, len(self.phases), engine.state.epoch, names)

    def _set_objective(self, engine: AlternatingTrainer, phase: Mapping[str, Any]) -> None:
        for name, value in {**self._attributes, **phase.get("objective", {})}.items():
            setattr(engine.objective, name, value)
        if hasattr(engine.objective, "check"):
            engine.objective.check()

    def _stop(self, engine: AlternatingTrainer) -> None:
        patience = self.phases[self._index(engine)].get("patience")
        best = max(scored.state.best_metric_epoch for scored in scored_engines(engine)[1:] or [engine])
        if patience is not None and best != -1 and engine.state.epoch - best >= patience:
            logger.info("No better validation since epoch %d: the training ends.", best)
            engine.terminate()

    def _index(self, engine: AlternatingTrainer) -> int:
        return bisect_right(self._first, engine.state.epoch) - 1


def _check_entry(name: str, phase: Mapping[str, Any], last: bool) -> None:
    unknown = sorted(phase.keys() - set(KEYS))
    if unknown:
        raise ValueError(f"{name}: unknown {', '.join(unknown)}; choose from {', '.join(KEYS)}.")
    if last and "epochs" in phase:
        raise ValueError(f"{name}: the last phase lasts until the training ends; leave out its epochs.")
    if not last and not _is_count(phase.get("epochs"), least=0):
        raise ValueError(f"{name}: epochs must be a whole number from 0 on, got {phase.get('epochs')!r}.")
    if "patience" in phase and not _is_count(phase["patience"], least=1):
        raise ValueError(f"{name}: patience must be a whole number from 1 on, got {phase['patience']!r}.")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_fit(name: str, phase: Mapping[str, Any], engine: AlternatingTrainer) -> None:
    known = [player.name for player in engine.players]
    played = list(phase.get("players", known))
    if not played or not set(played) <= set(known):
        raise ValueError(f"{name}: players are some of {', '.join(known)}, got {played}.")
    for attribute in phase.get("objective", {}):
        if not hasattr(engine.objective, attribute):
            raise ValueError(f"{name}: {type(engine.objective).__name__} has no attribute '{attribute}'.")
    for player, weights in phase.get("weights", {}).items():
        if player not in played:
            raise ValueError(f"{name}: weights of '{player}', who does not play in it.")
        if not weights or not all(math.isfinite(weight) for weight in weights.values()):
            raise ValueError(f"{name}: '{player}' needs at least one weight, all of them finite: {dict(weights)}.")
    if "patience" in phase and not any(evaluator.state.key_metric_name for evaluator in scored_engines(engine)[1:]):
        raise ValueError(f"{name}: patience needs a ValidationHandler whose evaluator has a key metric.")
