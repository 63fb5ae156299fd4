"""One training step: the objective's forward once, then the turn of each player on its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import ignite.distributed as idist
import torch
from torch import Tensor, nn

from transeg.engines.player import Player
from transeg.engines.tree import graph_nodes, reaches
from transeg.errors import ConfigError
from transeg.networks.spectral import weights_once


class Objective(Protocol):
    """What a step needs of an objective, besides one method ``(nets, t) -> terms`` for each player.

    The terms are named, unweighted scalars. Detach where a player must not train what came before. Parametrized
    weights (spectral norm) are computed once a phase and then shared, so do not call the same network first
    without and then with gradient in one method. An objective with a memory has ``state_dict`` and
    ``load_state_dict``, holding tensors and plain Python only. It may name in ``detached``, a frozenset, the players
    whose terms use the result of ``forward`` only detached: these do not keep its graph in memory. In ``translations``
    it may describe the translations in that result, see `translations_of`.
    """

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Any]) -> Any:
        """Compute every tensor the players share: a dataclass, mapping or sequence."""


class Step:
    """One training step on a batch; computes the objective's forward at once.

    A player's backward stops at its own parameters (``inputs=``), so a generator's step computes no weight gradient of
    a discriminator. The activations saved by the forward are freed during the backward of the last player that may
    need them (any but the objective's ``detached``); the returned tensors stay. A player must not need the graph
    through weights that an earlier player has changed; autograd refuses that.

    ``translation`` is what forward returned.

    Args:
        objective: see `Objective`.
        networks: modules by the name under which the objective finds them.
        players: in order of update.
        batch: tensors by name, on the device of the networks.
        phase: makes the context of the forward and of each player's terms; it ends before any weight changes. The
            default computes parametrized weights once.
        scaler: gradient scaler for half precision; its ``update`` is left to the caller.
    """

    def __init__(
        self,
        objective: Objective,
        networks: Mapping[str, nn.Module],
        players: Sequence[Player],
        batch: Mapping[str, Any],
        phase: Callable[[], AbstractContextManager] = weights_once,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        self.objective, self.networks, self.players, self.phase = objective, networks, list(players), phase
        self.scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
        self._detached = frozenset(getattr(objective, "detached", ()))
        with phase(), torch.set_grad_enabled(any(p.name not in self._detached for p in self.players)):
            self.translation = objective.forward(networks, batch)
        self._nodes = graph_nodes(self.translation)

    def run(self) -> dict[str, Tensor]:
        """Update all players; the terms as "player/term"."""
        found: dict[str, Tensor] = {}
        for player in self.players:
            found |= {f"{player.name}/{term}": value for term, value in self.turn(player).run().items()}
        return found

    def turn(self, player: Player, accumulate: bool = False) -> Turn:
        """Compute a player's terms.

        Args:
            player: one of the players, in their order.
            accumulate: add to the gradients of earlier batches instead of clearing them.

        Raises:
            ConfigError: terms and weights differ, or a player declared as detached is not.
        """
        if not accumulate:
            player.optimizer.zero_grad(set_to_none=True)
        with self.phase():
            terms = getattr(self.objective, player.name)(self.networks, self.translation)
        total = player.total(terms)
        return Turn(player, terms, total, self._retains(player, total), self.scaler)

    def _retains(self, player: Player, total: Tensor) -> bool:
        """Whether this player's backward uses the graph of the forward and a later player may need it too."""
        if not reaches(total, self._nodes):
            return False
        if player.name in self._detached:
            raise ConfigError(
                f"{type(self.objective).__name__} declares '{player.name}' as detached, but its terms lead back to "
                "the graph of forward. Detach there, or remove it from the objective's 'detached'."
            )
        later = self.players[self.players.index(player) + 1 :]
        return any(other.name not in self._detached for other in later)


@dataclass
class Turn:
    """A player's turn in a step: `backward`, `finish_gradients` and `update`, or `run` for all three.

    Args:
        player: whose turn it is.
        terms: its unweighted terms, scalars.
        total: their weighted sum, a scalar.
        retain_graph: a later player may need the graph of the forward.
        scaler: gradient scaler, perhaps disabled.
    """

    player: Player
    terms: Mapping[str, Tensor]
    total: Tensor
    retain_graph: bool
    scaler: torch.amp.GradScaler

    def run(self) -> dict[str, Tensor]:
        """Update the player; its terms, detached."""
        self.backward()
        self.finish_gradients()
        self.update()
        return {term: value.detach() for term, value in self.terms.items()}

    def backward(self, batches: int = 1) -> None:
        """Add the gradients of the player's own parameters, divided by the number of batches of an update."""
        scaled = self.scaler.scale(self.total / batches)
        if self.total.requires_grad:
            scaled.backward(inputs=self.player.parameters, retain_graph=self.retain_graph)

    def finish_gradients(self) -> Tensor:
        """Average the gradients over ranks, unscale and clip them; returns their total norm before clipping."""
        if idist.get_world_size() > 1:
            self.player.average_gradients()
        if not self.player.gradients():  # no image was labelled, say
            return torch.zeros_like(self.total)
        self.scaler.unscale_(self.player.optimizer)
        return self.player.clip_gradients()

    def update(self) -> bool:
        """Step the optimiser; False without any gradient."""
        if not self.player.gradients():
            return False
        self.scaler.step(self.player.optimizer)
        return True
