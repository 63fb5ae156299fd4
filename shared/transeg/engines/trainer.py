"""One trainer for all objectives: it runs `Step` after `Step`, with events, precision, ranks and epochs around it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import CommonKeys
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from transeg.engines.player import Player
from transeg.engines.step import Objective, Step
from transeg.engines.tree import detach, to_device
from transeg.errors import ConfigError
from transeg.networks.spectral import weights_once

_PRECISIONS = {None: None, "bf16": torch.bfloat16, "fp16": torch.float16}


def native_precision(device: torch.device | str) -> str | None:
    """ "bf16" on a device with arithmetic units for it, else None (float32)."""
    device = torch.device(device)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else None
    # a function of newer versions of torch
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
    return "bf16" if any(capabilities.get(unit) for unit in ("avx512_bf16", "amx_bf16")) else None


class NonFiniteError(RuntimeError):
    """A term or gradient is NaN or infinite; raised at the end of the step, whose updates are then spoilt.

    `ignite.handlers.TerminateOnNan` would look at the loss alone and name no term.
    """

    def __init__(self, player: str, terms: Sequence[str], epoch: int, iteration: int) -> None:
        self.player, self.terms, self.epoch, self.iteration = player, list(terms), epoch, iteration
        super().__init__(
            f"Not finite: {', '.join(terms)} of player '{player}' in epoch {epoch}, iteration {iteration}. Training "
            "stopped; the last checkpoint is untouched. Check the data, or lower the learning rate."
        )


class RankLostError(RuntimeError):
    """Another process of the training run has ended, so this one cannot continue."""

    def __init__(self, epoch: int, iteration: int) -> None:
        super().__init__(
            "Another process of this training run has ended or cannot be reached "
            f"(epoch {epoch}, iteration {iteration} on rank {idist.get_rank()}); see its log and torchrun's root-cause "
            "report. The last checkpoint is intact: resume with --resume True, with any number of processes."
        )


class Window(NamedTuple):
    """The batches of one update, and whether the present one is the first or the last of them."""

    length: int
    opens: bool
    closes: bool


class IterationOutput(list):
    """Output of an iteration, read by key; a list for MONAI's handlers (``from_engine(["loss"], first=True)``)."""

    def __getitem__(self, key: Any) -> Any:
        """Value of a key, or list item."""
        return super().__getitem__(0)[key] if isinstance(key, str) else super().__getitem__(key)


class AlternatingTrainer(SupervisedTrainer):
    """Runs the objective's forward once per batch, then lets each player in turn minimise its own terms; see `Step`.

    ``active_players`` are those that play: all, unless a handler (`Phases`) selects some. The schedules of the others
    continue. ``phase`` is its number, from 1. ``recommendation`` is a sentence of `EpochRecommendation` at the end.

    All random generators are seeded at the start of each epoch from (seed, epoch, rank), and the loader is restarted.
    Checkpoints are taken between epochs, so seed and epoch are all the random state they need.

    Several ranks: networks are copied from rank 0 at the start of each epoch, each player's gradients are averaged,
    and buffers (batch-norm statistics, per rank until then) are copied again before validation. Random numbers and an
    objective's memory differ by rank; checkpoints keep the memory of rank 0.

    ``state.output`` holds "image" and "label" (on the device), "loss" (sum of the players' totals), "terms"
    ("player/term" to value), both on the CPU, and "translation" (the result of forward, detached). Of the
    `IterationEvents`, FORWARD_COMPLETED and MODEL_COMPLETED fire once per iteration, LOSS_COMPLETED ("loss" is then
    that player's total) and BACKWARD_COMPLETED once per player.

    Args:
        device: device to train on; networks are moved there.
        max_epochs: number of epochs.
        train_data_loader: yields batches as mappings of tensors.
        network: the module exchanged in federated rounds and needed for inference.
        objective, players, networks: see `Step`.
        averages: name of an `AveragedModel` in ``networks`` to name of its source; updated after the players (unlike by
            `ignite.handlers.EMAHandler`, which ignores accumulation, the objective can use an average by its name).
        precision: None (float32), "bf16", "fp16" (with gradient scaling; a step with infinite gradients is skipped), or
            "auto", `native_precision` of the device.
        accumulation_steps: batches whose gradients are averaged for one update; the remainder of an epoch (of known
            length) makes an update of its own.
        seed: root of all randomness during training.
        prepare_batch: ``(batch, device, non_blocking, **to_kwargs) -> batch``; may apply transforms on the device.
        train_handlers: objects with ``attach``.
        decollate: split output into items before ``postprocessing``, as in MONAI.
        kwargs: further arguments of `monai.engines.SupervisedTrainer`.

    Raises:
        ValueError: players, objective, networks or averages do not fit together; while running, a player declared
            as ``detached`` is not.
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
            raise ConfigError(f"AlternatingTrainer does not take {sorted(unsupported)}; see precision.")
        if precision == "auto":
            precision = native_precision(device)
        if precision not in _PRECISIONS:
            raise ConfigError(f"precision must be one of {[*_PRECISIONS, 'auto']}, got {precision!r}.")
        self.objective, self.players, self.networks = objective, list(players), dict(networks)
        self.active_players = self.players
        self.phase, self.recommendation = 1, ""
        self.averages = dict(averages or {})
        self.precision, self.seed = precision, seed
        if accumulation_steps < 1:
            raise ConfigError(f"accumulation_steps must be at least 1, got {accumulation_steps}.")
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
            loss_function=objective.forward,  # unused, but MONAI wants one
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
        # Last, so that handlers find a complete trainer and run after its own at the end of an epoch.
        self.train_handlers = list(train_handlers or [])
        self._register_handlers(self.train_handlers)

    def _check_parts(self, network: nn.Module) -> Player:
        names = [player.name for player in self.players]
        if len(set(names)) < len(names) or not names:
            raise ConfigError(f"Players need different names, and there must be at least one: {names}.")
        kind = type(self.objective).__name__
        for name in ("forward", *names, *getattr(self.objective, "detached", ())):
            if not callable(getattr(self.objective, name, None)):
                raise ConfigError(f"{kind} has no method '{name}'" + (" for this player." if name in names else "."))
        known = {id(p) for module in self.networks.values() for p in module.parameters()}
        for player in self.players:
            if any(id(p) not in known for p in player.parameters):
                raise ConfigError(
                    f"Player '{player.name}' trains parameters of no module in networks {[*self.networks]}."
                )
        for name, source in self.averages.items():
            if not isinstance(self.networks.get(name), AveragedModel) or source not in self.networks:
                raise ConfigError(
                    f"averages: '{name}' must be an AveragedModel in networks, and '{source}' its source there."
                )
        own = {id(p) for p in network.parameters()}
        if not own <= known:
            raise ConfigError("network has parameters of no module in networks; they would not be saved.")
        for player in self.players:
            if any(id(p) in own for p in player.parameters):
                return player
        raise ConfigError(f"None of the players {names} trains network.")

    def run(self) -> None:  # type: ignore[override]  # MONAI's signature, not ignite's
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

    def _iteration(self, engine: SupervisedTrainer, batchdata: Mapping[str, Any]) -> Any:
        if batchdata is None:
            raise ValueError("Must provide batch data for current iteration.")
        batch = self.prepare_batch(batchdata, self.state.device, self.non_blocking, **self.to_kwargs)
        output: dict[str, Any] = {key: batch[key] for key in (CommonKeys.IMAGE, CommonKeys.LABEL) if key in batch}
        self.state.output = output
        for module in self.networks.values():
            module.train()
        step = Step(self.objective, self.networks, self.active_players, batch, self._phase, self.grad_scaler)
        self.fire_event(IterationEvents.FORWARD_COMPLETED)

        window, updated = self._window(), False
        found: dict[str, dict[str, Tensor]] = {}
        for player in self.active_players:
            found[player.name], changed = self._play(step, player, window)
            updated |= changed
        if updated:
            self.grad_scaler.update()
        if window.closes:
            for name, source in self.averages.items():
                cast(AveragedModel, self.networks[name]).update_parameters(self.networks[source])
        loss, terms = self._finite_values(found)
        output.update(loss=loss, terms=terms, translation=detach(step.translation))
        self.fire_event(IterationEvents.MODEL_COMPLETED)
        return IterationOutput([output]) if self.state.output is output else self.state.output  # or decollated

    def _play(self, step: Step, player: Player, window: Window) -> tuple[dict[str, Tensor], bool]:
        """A player's turn: its terms, their "total" and the norm of its "gradient", and whether its weights changed."""
        turn = step.turn(player, accumulate=not window.opens)
        self.state.output[CommonKeys.LOSS] = turn.total.detach()
        self.fire_event(IterationEvents.LOSS_COMPLETED)
        turn.backward(window.length)
        self.fire_event(IterationEvents.BACKWARD_COMPLETED)
        norm = turn.finish_gradients() if window.closes else torch.zeros_like(turn.total)
        if window.closes:
            self._report_unused(player)
        values = {**turn.terms, "total": turn.total, "gradient": norm}
        return {name: value.detach() for name, value in values.items()}, window.closes and turn.update()

    def _finite_values(self, found: Mapping[str, Mapping[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss and the terms as "player/term" on the CPU, from what each player's turn gave."""
        # The only transfer to the host, after the whole step has been queued. A gradient that is not finite comes
        # with every rank's average, so that all ranks stop together; the scaler deals with its own.
        scalars = [value.float() for values in found.values() for value in values.values()]
        on_host = iter(torch.stack(scalars).cpu().unbind())
        loss = torch.zeros(())
        terms: dict[str, Tensor] = {}
        for player, values in found.items():  # in order of play: later players see what the first has spoilt
            named = {name: next(on_host) for name in values}
            gradient = named.pop("gradient")
            checked = named if self.grad_scaler.is_enabled() else {**named, "gradient": gradient}
            if bad := [name for name, value in checked.items() if not value.isfinite()]:
                culprits = [name for name in bad if name not in ("total", "gradient")] or bad
                raise NonFiniteError(player, culprits, self.state.epoch, self.state.iteration)
            loss = loss + named.pop("total")
            terms |= {f"{player}/{term}": value for term, value in named.items()}
        return loss, terms

    @contextmanager
    def _phase(self) -> Iterator[None]:
        """Autocast, with parametrized weights computed once."""
        dtype = _PRECISIONS[self.precision]
        with torch.autocast(self.state.device.type, dtype, enabled=dtype is not None), weights_once():
            yield

    def _window(self) -> Window:
        length = self.state.epoch_length
        position = (self.state.iteration - 1) % (length or self.state.iteration)  # from 0
        start = position // self.accumulation_steps * self.accumulation_steps
        size = min(self.accumulation_steps, length - start) if length else self.accumulation_steps
        return Window(size, opens=position == start, closes=position == start + size - 1)

    def _report_unused(self, player: Player) -> None:
        if player.name not in self._reported:
            self._reported.add(player.name)
            unused = sum(p.grad is None for p in player.parameters)
            if unused:
                self.logger.warning(
                    f"Player '{player.name}': {unused} of {len(player.parameters)} parameters got no gradient in the "
                    "first step. Harmless if this batch does not use them (for example, no labels)."
                )

    # Epochs

    def _begin_epoch(self, engine: SupervisedTrainer) -> None:
        rank, epoch, loader = idist.get_rank(), self.state.epoch, self.data_loader
        root = int(np.random.SeedSequence([self.seed, epoch, rank]).generate_state(1)[0])
        random.seed(root)
        np.random.seed(root)  # noqa: NPY002 (third-party transforms draw from it)
        torch.manual_seed(root)
        dataset = getattr(loader, "dataset", None)
        for transform in (getattr(dataset, "transform", None), self.prepare_batch):
            if set_state := getattr(transform, "set_random_state", None):
                set_state(seed=root)
        for part in (dataset, getattr(loader, "sampler", None), getattr(loader, "batch_sampler", None)):
            if set_epoch := getattr(part, "set_epoch", None):
                set_epoch(epoch)
        self._copy_from_rank_0(tensor for module in self.networks.values() for tensor in module.state_dict().values())
        self.set_data(loader)  # an iterator kept from the last epoch would depend on earlier epochs

    def _end_epoch(self, engine: SupervisedTrainer) -> None:
        with warnings.catch_warnings():  # about the schedule of a player that has not played yet
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
            for player in self.players:
                if player.scheduler is not None:
                    player.scheduler.step()
        self._copy_from_rank_0(buffer for module in self.networks.values() for buffer in module.buffers())

    def _copy_from_rank_0(self, tensors: Iterable[Tensor]) -> None:
        if idist.get_world_size() > 1:
            for tensor in tensors:
                idist.broadcast(tensor, src=0)
