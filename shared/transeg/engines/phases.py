"""Training in phases, such as pre-training before joint training: the epoch alone decides which players play."""

from __future__ import annotations

import logging
import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from ignite.engine import Events

from transeg.engines.checkpoints import scored_states
from transeg.engines.trainer import AlternatingTrainer
from transeg.errors import ConfigError

logger = logging.getLogger(__name__)

KEYS = ("epochs", "players", "objective", "weights", "patience")


class Phases:
    """Sets at the start of each epoch the active players, attributes of the objective, and weights of the terms.

    It has no state, so training resumes from any checkpoint; list `TrainingState` before it in the handlers. Every
    player's schedule counts all epochs, whoever plays. The best validation score is reset when a phase begins, so that
    `BestModelSaver` and ``patience`` see the current phase only. (MONAI's `EarlyStopHandler` counts validations instead
    of comparing epochs, so it would need state of its own, and knows no phases.)

    Args:
        phases: in order, each with some of

            - "epochs": number of epochs (0 skips the phase); the last phase has none and lasts until training ends;
            - "players": names of the active players, default all; they play in the trainer's order;
            - "objective": attributes of the objective to set; attributes not named by a phase keep their initial
              values. An objective may have a method ``check()`` that raises ValueError for incompatible values;
            - "weights": player to term to weight, replacing the player's own weights, not normalised. Needed if the
              objective computes different terms in this phase;
            - "patience": end training when the key validation metric has not improved for this many epochs; None:
              never.

    Raises:
        ConfigError: invalid phases; when attached, phases that do not match the trainer.
    """

    def __init__(self, phases: Sequence[Mapping[str, Any]]) -> None:
        self.phases = [dict(phase) for phase in phases]
        if not self.phases:
            raise ConfigError("Phases needs at least one phase.")
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
        for phase in reversed(self.phases):  # check all; the first one stays
            self._set_objective(engine, phase)
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_STARTED, self._enter)

    def _start(self, engine: AlternatingTrainer) -> None:
        if not engine.has_event_handler(self._stop, Events.EPOCH_COMPLETED):  # added now, to run after validation
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._stop)
            if engine.state.epoch > 0:  # resumed, perhaps after patience had run out
                self._stop(engine)
        if self._first[-1] > engine.state.max_epochs:
            logger.warning(
                "The last phase begins with epoch %d, but training ends with epoch %d.",
                self._first[-1],
                engine.state.max_epochs,
            )

    def _enter(self, engine: AlternatingTrainer) -> None:
        index = self._index(engine)
        phase = self.phases[index]
        engine.phase = index + 1
        played = phase.get("players", self._weights.keys())
        engine.active_players = [player for player in engine.players if player.name in played]
        for player in engine.players:
            player.weights = phase.get("weights", {}).get(player.name, self._weights[player.name])
        self._set_objective(engine, phase)
        if engine.state.epoch == self._first[index]:
            for scored in scored_states(engine):
                scored.best_metric_epoch = -1  # MONAI's value for none yet
            names = ", ".join(player.name for player in engine.active_players)
            logger.info("Phase %d of %d from epoch %d: %s.", index + 1, len(self.phases), engine.state.epoch, names)

    def _set_objective(self, engine: AlternatingTrainer, phase: Mapping[str, Any]) -> None:
        for name, value in {**self._attributes, **phase.get("objective", {})}.items():
            setattr(engine.objective, name, value)
        if hasattr(engine.objective, "check"):
            engine.objective.check()

    def _stop(self, engine: AlternatingTrainer) -> None:
        patience = self.phases[self._index(engine)].get("patience")
        best = max(scored.best_metric_epoch for scored in scored_states(engine)[1:] or scored_states(engine))
        if patience is not None and best != -1 and engine.state.epoch - best >= patience:
            logger.info("No improvement in validation since epoch %d; training ends.", best)
            engine.terminate()

    def _index(self, engine: AlternatingTrainer) -> int:
        return bisect_right(self._first, engine.state.epoch) - 1


def _check_entry(name: str, phase: Mapping[str, Any], last: bool) -> None:
    unknown = sorted(phase.keys() - set(KEYS))
    if unknown:
        raise ConfigError(f"{name}: unknown key {', '.join(unknown)}; choose from {', '.join(KEYS)}.")
    if last and "epochs" in phase:
        raise ConfigError(f"{name}: the last phase lasts until training ends; remove its epochs.")
    if not last and not _is_count(phase.get("epochs"), least=0):
        raise ConfigError(f"{name}: epochs must be an integer of at least 0, got {phase.get('epochs')!r}.")
    if phase.get("patience") is not None and not _is_count(phase["patience"], least=1):
        raise ConfigError(f"{name}: patience must be an integer of at least 1 or None, got {phase['patience']!r}.")


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_fit(name: str, phase: Mapping[str, Any], engine: AlternatingTrainer) -> None:
    known = [player.name for player in engine.players]
    played = list(phase.get("players", known))
    if not played or not set(played) <= set(known):
        raise ConfigError(f"{name}: players must be among {', '.join(known)}, got {played}.")
    for attribute in phase.get("objective", {}):
        if not hasattr(engine.objective, attribute):
            raise ConfigError(f"{name}: {type(engine.objective).__name__} has no attribute '{attribute}'.")
    for player, weights in phase.get("weights", {}).items():
        if player not in played:
            raise ConfigError(f"{name}: weights for '{player}', which does not play in it.")
        if not weights or not all(math.isfinite(weight) for weight in weights.values()):
            raise ConfigError(f"{name}: '{player}' needs at least one weight, all of them finite: {dict(weights)}.")
    if phase.get("patience") is not None and not any(scored.key_metric_name for scored in scored_states(engine)[1:]):
        raise ConfigError(f"{name}: patience needs a ValidationHandler whose evaluator has a key metric.")
