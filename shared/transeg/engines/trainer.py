"""One trainer for all objectives: players take turns on what one forward pass computed."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.swa_utils import AveragedModel

from transeg.engines.player import Player
from transeg.engines.tree import detach, graph_nodes, reaches, to_device

_PRECISIONS = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Objective(Protocol):
    """What the trainer needs of an objective, besides one method ``(nets, t) -> terms`` for each player.

    The terms are named, unweighted scalars. Detach where a player must not train what came before. Parametrized
    weights (spectral norm) are computed once a phase and then shared, so do not call the same network first
    without and then with gradient in one method. An objective with a memory has ``state_dict`` and
    ``load_state_dict``, holding tensors and plain Python only. It may name in ``detached``, a frozenset, the players
    whose terms see what ``forward`` computed detached only: these do not keep its graph in memory.
    """

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Any]) -> Any:
        """Compute every tensor the players share: a dataclass, mapping or sequence."""


class NonFiniteError(RuntimeError):
    """A term or gradient became NaN or infinite; raised before the player's step."""

    def __init__(self, player: str, terms: Sequence[str], epoch: int, iteration: int) -> None:
        self.player, self.terms, self.epoch, self.iteration = player, list(terms), epoch, iteration
        super().__init__(
            f"Not finite: {', '.join(terms)} of player '{player}' in epoch {epoch}, iteration {iteration}. Training "
            "stopped before this step; the last checkpoint is untouched. Check the data, or lower the learning rate."
        )


class RankLostError(RuntimeError):
    """Another process of the training ended, so that this one waits for nobody."""

    def __init__(self, epoch: int, iteration: int) -> None:
        super().__init__(
            f"Another process of this training has ended or cannot be reached (epoch {epoch}, iteration {iteration} on "
            f"rank {idist.get_rank()}); its own message and the root cause named by torchrun tell why. The last "
            "checkpoint is whole: go on from it with --resume True, with as many processes as you like."
        )


class IterationOutput(list):
    """What an iteration gave, read by its keys; for MONAI's handlers (``from_engine(["loss"], first=True)``) a list."""

    def __getitem__(self, key: Any) -> Any:
        """Value of a name, or the item of a list."""
        return super().__getitem__(0)[key] if isinstance(key, str) else super().__getitem__(key)


class AlternatingTrainer(SupervisedTrainer):
    """Runs the objective's forward once per batch, then lets each player in turn minimise its own terms.

    A player's backward stops at its own parameters (``inputs=``), so a generator's step computes no weight gradient of
    a discriminator. The activations that the forward saved are freed during the backward of the last player that may
    need them (any but the objective's ``detached``); the tensors that it returned stay. A player must not need the
    graph through weights that an earlier player has changed; autograd refuses that.

    ``active_players`` are those who play: all, unless a handler (`Phases`) chooses. Schedules of the others go on.

    Everything random is seeded at the start of each epoch from (seed, epoch, rank), and the loader is started anew.
    Checkpoints are taken between epochs, so they need no random state: seed and epoch are the whole of it.

    Several ranks: networks are copied from rank 0 at the start of each epoch, each player's gradients averaged, and
    buffers (of batch norm, each rank's own until then) copied again before validation. Random numbers and an
    objective's memory differ by rank; rank 0's memory is the one that checkpoints keep.

    ``state.output`` holds "image" and "label" (on the device), "loss" (sum of the players' totals), "terms"
    ("player/term" to value), both on the CPU, and "translation" (what forward returned, detached). Of the
    `IterationEvents`, FORWARD_COMPLETED and MODEL_COMPLETED fire once an iteration, LOSS_COMPLETED ("loss" is then
    that player's total) and BACKWARD_COMPLETED once a player.

    Args:
        device: where to train; networks are moved there.
        max_epochs: number of epochs.
        train_data_loader: yields batches as mappings of tensors.
        network: the module that federated rounds exchange and inference needs.
        objective: see `Objective`.
        players: in order of update.
        networks: modules by the name under which the objective finds them.
        averages: name of an `AveragedModel` in ``networks`` to name of its source; updated after the players' steps.
        precision: None (float32), "bf16" or "fp16" (with gradient scaling; a step with infinite gradients is skipped).
        accumulation_steps: batches whose gradients are averaged for one step; the rest of an epoch (of known
            length) makes a step of its own.
        seed: root of all randomness during training.
        prepare_batch: ``(batch, device, non_blocking, **to_kwargs) -> batch``; may apply transforms on the device.
        train_handlers: objects with ``attach``.
        decollate: split output into items before ``postprocessing``, as in MONAI.
        kwargs: further arguments of `monai.engines.SupervisedTrainer`.

    Raises:
        ValueError: players, objective, networks or averages do not fit together; while running, a player that is
            declared ``detached`` is not.
        NonFiniteError, RankLostError: while running.
    """

    def __init__(
        self,
        device: torch.device | str,
        max_epochs: int,
        train_data_loader: Iterable,
        network: nn.Module,
        objective: Objective,
        players: Sequence[Player],
        networks: Mapping[str, nn.Module],
        averages: Mapping[str, str] | None = None,
        precision: str | None = None,
        accumulation_steps: int = 1,
        seed: int = 0,
        prepare_batch: Callable = to_device,
        train_handlers: Sequence | None = None,
        decollate: bool = False,
        **kwargs: Any,
    ) -> None:
        unsupported = kwargs.keys() & {"amp", "amp_kwargs", "compile", "compile_kwargs", "iteration_update"}
        if unsupported:
            raise ValueError(f"AlternatingTrainer does not take {sorted(unsupported)}; see precision.")
        if precision not in _PRECISIONS:
            raise ValueError(f"precision must be one of {list(_PRECISIONS)}, got {precision!r}.")
        self.objective, self.players, self.networks = objective, list(players), dict(networks)
        self.active_players = self.players
        self._detached = frozenset(getattr(objective, "detached", ()))
        self.averages = dict(averages or {})
        self.precision, self.seed = precision, seed
        if accumulation_steps < 1:
            raise ValueError(f"accumulation_steps must be at least 1, got {accumulation_steps}.")
        trains_network = self._check_parts(network)
        for module in self.networks.values():
            module.to(device)
        for name in self.averages:
            self.networks[name].requires_grad_(False)
        super().__init__(
            device=device,
            max_epochs=max_epochs,
            train_data_loader=train_data_loader,
            network=network,
            optimizer=trains_network.optimizer,
            loss_function=objective,
            prepare_batch=prepare_batch,
            decollate=decollate,
            **kwargs,
        )
        self.accumulation_steps = accumulation_steps  # after MONAI, which from 1.6 on sets its own
        self.grad_scaler = torch.amp.GradScaler(self.state.device.type, enabled=precision == "fp16")
        self._reported: set[str] = set()
        self.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        self.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        if getattr(train_data_loader, "persistent_workers", False):
            self.logger.warning("Persistent workers keep their random state: a resumed run will differ; turn them off.")
        # Last, so that handlers find a whole trainer, and epochs end before any of them looks.
        self.train_handlers = list(train_handlers or [])
        self._register_handlers(self.train_handlers)

    def _check_parts(self, network: nn.Module) -> Player:
        names = [player.name for player in self.players]
        if len(set(names)) < len(names) or not names:
            raise ValueError(f"Players need different names, at least one: {names}.")
        kind = type(self.objective).__name__
        for name in ("forward", *names, *self._detached):
            if not callable(getattr(self.objective, name, None)):
                raise ValueError(f"{kind} has no method '{name}'" + (" for this player." if name in names else "."))
        known = {id(p) for module in self.networks.values() for p in module.parameters()}
        for player in self.players:
            if any(id(p) not in known for p in player.parameters):
                raise ValueError(
                    f"Player '{player.name}' trains parameters of no module in networks {[*self.networks]}."
                )
        for name, source in self.averages.items():
            if not isinstance(self.networks.get(name), AveragedModel) or source not in self.networks:
                raise ValueError(
                    f"averages: '{name}' must be an AveragedModel in networks, and '{source}' its source there."
                )
        own = {id(p) for p in network.parameters()}
        if not own <= known:
            raise ValueError("network has parameters that no module in networks holds; they would not be saved.")
        for player in self.players:
            if any(id(p) in own for p in player.parameters):
                return player
        raise ValueError(f"None of the players {names} trains network.")

    def run(self) -> None:
        """Train until the last epoch.

        Raises:
            NonFiniteError: a term or gradient is not finite.
            RankLostError: another process has ended.
        """
        try:
            super().run()
        except RuntimeError as error:
            if isinstance(error, torch.distributed.DistError) or "third_party/gloo" in str(error):  # gloo's has no type
                raise RankLostError(self.state.epoch, self.state.iteration) from error
            raise

    # One iteration

    def _iteration(self, engine: SupervisedTrainer, batchdata: Mapping[str, Any]) -> dict[str, Any]:
        if batchdata is None:
            raise ValueError("Must provide batch data for current iteration.")
        batch = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        output = {key: batch[key] for key in (CommonKeys.IMAGE, CommonKeys.LABEL) if key in batch}
        self.state.output = output
        for module in self.networks.values():
            module.train()
        with self._phase(), torch.set_grad_enabled(any(p.name not in self._detached for p in self.active_players)):
            t = self.objective.forward(self.networks, batch)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)

        nodes = graph_nodes(t)
        start, window = self._window()
        step = start + window - 1 == self._position()
        loss, terms, stepped = torch.zeros(()), {}, False
        for player in self.active_players:
            if start == self._position():
                player.optimizer.zero_grad(set_to_none=True)
            values = self._play(player, t, nodes, window, step)
            loss = loss + values.pop("total")
            terms.update({f"{player.name}/{term}": value for term, value in values.items()})
            if step and player.gradients():  # none at all when, say, no image was labelled
                self.grad_scaler.step(player.optimizer)
                stepped = True
        if stepped:
            self.grad_scaler.update()
        if step:
            for name, source in self.averages.items():
                self.networks[name].update_parameters(self.networks[source])
        output.update(loss=loss, terms=terms, translation=detach(t))
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return IterationOutput([output]) if self.state.output is output else self.state.output  # or decollated

    def _play(self, player: Player, t: Any, nodes: set[Any], window: int, step: bool) -> dict[str, Tensor]:
        """Gradients of one player, ready to step; returns its terms and their "total" on the CPU."""
        with self._phase():
            terms = getattr(self.objective, player.name)(self.networks, t)
        total = player.total(terms)
        self.state.output[CommonKeys.LOSS] = total.detach()
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        scaled = self.grad_scaler.scale(total / window)
        if total.requires_grad:
            retain = self._retains(player, total, nodes)
            scaled.backward(inputs=player.parameters, retain_graph=retain)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)

        norm = torch.zeros_like(total)
        if step:
            if idist.get_world_size() > 1:
                player.average_gradients()
            if player.gradients():
                self.grad_scaler.unscale_(player.optimizer)
                norm = player.clip_gradients()
            self._report_unused(player)
        # The only transfer to the host, after the backward has been queued. A gradient that is not finite comes
        # with every rank's average, so that all ranks stop together; the scaler deals with its own.
        stacked = torch.stack([*(terms[term].detach().float() for term in terms), total.detach(), norm.float()]).cpu()
        values = dict(zip([*terms, "total", "gradient"], stacked.unbind(), strict=True))
        gradient = values.pop("gradient")
        if self.grad_scaler.is_enabled():
            gradient = torch.zeros(())
        bad = [name for name, value in {**values, "gradient": gradient}.items() if not value.isfinite()]
        if bad:
            named = [name for name in bad if name in terms] or bad
            raise NonFiniteError(player.name, named, self.state.epoch, self.state.iteration)
        return values

    def _retains(self, player: Player, total: Tensor, nodes: set[Any]) -> bool:
        """Whether this player's backward uses the graph of the forward and a later player may need it too."""
        if not reaches(total, nodes):
            return False
        if player.name in self._detached:
            raise ValueError(
                f"{type(self.objective).__name__} declares '{player.name}' as detached, but its terms lead back to "
                "what forward computed. Detach there, or take it out of the objective's 'detached'."
            )
        later = self.active_players[self.active_players.index(player) + 1 :]
        return any(other.name not in self._detached for other in later)

    @contextmanager
    def _phase(self) -> Iterator[None]:
        """Autocast, with parametrized weights computed once; ends, caches and all, before any weight changes."""
        dtype = _PRECISIONS[self.precision]
        with torch.autocast(self.state.device.type, dtype, enabled=dtype is not None), parametrize.cached():
            yield

    def _position(self) -> int:
        """Index of this iteration in its epoch, from 0."""
        return (self.state.iteration - 1) % (self.state.epoch_length or self.state.iteration)

    def _window(self) -> tuple[int, int]:
        """First position and length of the present accumulation; the last one of an epoch may be shorter."""
        start = self._position() // self.accumulation_steps * self.accumulation_steps
        left = (self.state.epoch_length or start + self.accumulation_steps) - start
        return start, min(self.accumulation_steps, left)

    def _report_unused(self, player: Player) -> None:
        if player.name not in self._reported:
            self._reported.add(player.name)
            unused = sum(p.grad is None for p in player.parameters)
            if unused:
                self.logger.warning(
                    f"Player '{player.name}': {unused} of {len(player.parameters)} parameters got no gradient in the "
                    "first step. Fine if this batch does not use them (no label in it, say)."
                )

    # Epochs

    def _begin_epoch(self, engine: SupervisedTrainer) -> None:
        rank, epoch, loader = idist.get_rank(), self.state.epoch, self.data_loader
        root = int(np.random.SeedSequence([self.seed, epoch, rank]).generate_state(1)[0])
        random.seed(root)
        np.random.seed(root)  # noqa: NPY002 (transforms of others draw from it)
        torch.manual_seed(root)
        dataset = getattr(loader, "dataset", None)
        for transform in (getattr(dataset, "transform", None), self.prepare_batch):
            if hasattr(transform, "set_random_state"):
                transform.set_random_state(seed=root)
        for part in (dataset, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        self._copy_from_rank_0(tensor for module in self.networks.values() for tensor in module.state_dict().values())
        self.set_data(loader)  # an iterator kept from the last epoch would depend on history

    def _end_epoch(self, engine: SupervisedTrainer) -> None:
        with warnings.catch_warnings():  # of a schedule that goes on while its player has not played yet
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for player in self.players:
                if player.scheduler is not None:
                    player.scheduler.step()
        self._copy_from_rank_0(buffer for module in self.networks.values() for buffer in module.buffers())

    def _copy_from_rank_0(self, tensors: Iterable[Tensor]) -> None:
        if idist.get_world_size() > 1:
            for tensor in tensors:
                idist.broadcast(tensor, src=0)
