"""Files with weights: written whole or not at all, read safely."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import nn

from transeg.errors import DataError
from transeg.files import atomic
from transeg.networks.spectral import plain_state_dict

logger = logging.getLogger(__name__)


def save_atomically(value: Any, path: Path) -> None:
    """`torch.save` that leaves either the old file or the whole new one, whenever the process dies.

    Raises:
        TypeError: ``value`` holds more than tensors and plain Python, so that it could not be read back safely.
    """
    with atomic(path, sync=True) as partial:
        with partial.open("wb") as file:
            torch.save(value, file)
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(partial)
        if unsafe:
            raise TypeError(f"{path} would hold objects that cannot be loaded safely: {sorted(unsafe)}.")


class BestModelSaver:
    """Writes the weights that inference needs: on an evaluator when its key metric is best, on a trainer at the end.

    Spectral norm is folded into the weights, which load into the same network without it. The best value is part of
    `TrainingState`, so a resumed run does not overwrite a better model.

    Args:
        path: file for the plain state dict.
        network: the network, or the module of an average of it.
        half: store floating-point weights in half precision.
    """

    def __init__(self, path: str | os.PathLike, network: nn.Module, half: bool = False) -> None:
        self.path, self.network, self.half = Path(path), network, half

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator or a trainer."""
        if not isinstance(engine, Evaluator):
            engine.add_event_handler(Events.COMPLETED, self._save)
        elif engine.state.key_metric_name is None:
            raise ValueError("BestModelSaver needs an evaluator with a key metric.")
        else:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_best)

    def _save_best(self, engine: Evaluator) -> None:
        scoring = getattr(engine, "scoring", False)  # weights that are only looked at, see `RunFolder`
        if not scoring and engine.state.best_metric_epoch == engine.state.epoch:
            self._save(engine)

    def _save(self, engine: Engine) -> None:
        if idist.get_rank() > 0:
            return
        state = plain_state_dict(self.network)
        if self.half:
            state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
        save_atomically({key: value.cpu() for key, value in state.items()}, self.path)


class WeightsLoader:
    """Loads the weights that inference needs at the start of a run.

    Args:
        path: plain state dict, as `BestModelSaver` writes it; half precision is converted.
        network: the network without spectral norm.

    Raises:
        DataError: when the run starts, if the file is missing, cannot be read safely, or is of another network.
    """

    def __init__(self, path: str | os.PathLike, network: nn.Module) -> None:
        self.path, self.network = Path(path), network

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator or a trainer."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load them."""
        load_weights(self.network, self.path)


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a plain state dict, as `BestModelSaver` writes it, into a network with or without spectral norm.

    Raises:
        DataError: the file is missing, cannot be read safely, or is of another network.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; train first, download the bundle's weights, or set the path.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} cannot be read as weights ({error}); copy or download it again.") from error
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        first = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} holds the weights of another network ({first}); set channels, width and levels to those that it "
            "was trained with."
        ) from error
    logger.info("Weights from %s.", path)
