"""A player of the training game: networks, their optimiser, and the weights of its terms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from transeg.errors import ConfigError


class Player:
    """Trains ``networks`` with ``optimizer`` on a weighted sum of the terms of one method of the objective.

    Args:
        name: method of the objective that returns this player's terms, for example ``"generators"``.
        networks: the module or modules to train.
        optimizer: over all trainable parameters of ``networks`` and no others.
        weights: weight of each term by name.
        scheduler: learning-rate schedule, stepped by the trainer at the end of an epoch.
        normalise_weights: divide the weights by their sum.
        clip_norm: clip the player's gradients to this total norm before each step.

    Raises:
        ConfigError: optimiser and networks have different parameters, or the weights are not usable.
    """

    def __init__(
        self,
        name: str,
        networks: nn.Module | Sequence[nn.Module],
        optimizer: Optimizer,
        weights: Mapping[str, float],
        scheduler: LRScheduler | None = None,
        normalise_weights: bool = False,
        clip_norm: float | None = None,
    ) -> None:
        self.name = name
        self.networks = [networks] if isinstance(networks, nn.Module) else list(networks)
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.clip_norm = clip_norm
        self.weights = {term: float(weight) for term, weight in weights.items()}
        if not self.weights or not all(math.isfinite(w) for w in self.weights.values()):
            raise ConfigError(f"Player '{name}' needs at least one weight, all of them finite: {self.weights}.")
        if normalise_weights:
            total = sum(self.weights.values())
            if total <= 0:
                raise ConfigError(f"Player '{name}': weights with the sum {total} cannot be normalised.")
            self.weights = {term: weight / total for term, weight in self.weights.items()}
        self._check_optimizer()

    def _check_optimizer(self) -> None:
        named = {id(p): key for network in self.networks for key, p in network.named_parameters()}
        held = {id(p): p for group in self.optimizer.param_groups for p in group["params"]}
        foreign = [tuple(p.shape) for key, p in held.items() if key not in named]
        if foreign:
            raise ConfigError(
                f"Player '{self.name}': {len(foreign)} parameters of its optimizer belong to none of its networks "
                f"(shapes {foreign[:5]}); build the optimizer from the parameters of these networks only."
            )
        trainable = {id(p): p for network in self.networks for p in network.parameters() if p.requires_grad}
        missing = [named[key] for key in trainable if key not in held]
        if missing:
            raise ConfigError(
                f"Player '{self.name}': its optimizer lacks {len(missing)} trainable parameters of its networks "
                f"({', '.join(missing[:5])}); pass them or freeze them."
            )
        if not trainable:
            raise ConfigError(f"Player '{self.name}' has no trainable parameter.")

    @property
    def parameters(self) -> list[Tensor]:
        """Trainable parameters, each once, in the order of the optimiser."""
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.requires_grad]

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Weighted sum, a float32 scalar.

        Raises:
            ConfigError: terms without a weight, weights without a term, or a term that is not a scalar.
        """
        unweighted, absent = sorted(terms.keys() - self.weights.keys()), sorted(self.weights.keys() - terms.keys())
        if unweighted or absent:
            raise ConfigError(
                f"Player '{self.name}': terms without a weight: {unweighted or 'none'}; "
                f"weights without a term: {absent or 'none'}."
            )
        for term, value in terms.items():
            if not isinstance(value, Tensor) or value.dim() > 0:
                shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise ConfigError(f"Player '{self.name}': term '{term}' must be a scalar tensor, got {shape}.")
        return torch.stack([weight * terms[term].float() for term, weight in self.weights.items()]).sum()

    def gradients(self) -> list[Tensor]:
        """The existing gradients; a parameter that no term uses has none."""
        return [p.grad for p in self.parameters if p.grad is not None]

    def average_gradients(self) -> None:
        """Replace the gradients with their mean over all ranks, in one flat all-reduce (call on every rank).

        A gradient missing on this rank counts as zero; one missing on all ranks stays missing, so that the optimiser
        skips the parameter as it would in a single process.
        """
        parameters = self.parameters
        found = torch.tensor([p.grad is not None for p in parameters], dtype=torch.float32)
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([g.flatten().float() for g in grads] + [found.to(grads[0].device)])
        mean_flat = idist.all_reduce(flat) / idist.get_world_size()
        sizes = [g.numel() for g in grads]
        *means, counts = torch.split(torch.as_tensor(mean_flat), [*sizes, len(sizes)])
        used = [True] * len(sizes) if found.all() else (counts > 0).tolist()
        for parameter, mean, keep in zip(parameters, means, used, strict=True):
            parameter.grad = mean.view_as(parameter).to(parameter.dtype) if keep else None

    def clip_gradients(self) -> Tensor:
        """Total norm of the gradients, a scalar on their device; clips them if ``clip_norm`` is set."""
        norm = torch.nn.utils.get_total_norm(self.gradients())
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.clip_norm, norm)
        return norm

    def state_dict(self) -> dict[str, Any]:
        """State of optimiser and schedule."""
        scheduler = None if self.scheduler is None else self.scheduler.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "scheduler": scheduler}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            ConfigError: only one of the two has a schedule, or the optimisers have different parameters.
        """
        if (self.scheduler is None) != (state["scheduler"] is None):
            raise ConfigError(f"Player '{self.name}': only one of checkpoint and trainer has a scheduler.")
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
