"""Files with weights: written atomically, read safely."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from torch import Tensor, nn

from transeg.errors import DataError, listed
from transeg.files import atomic
from transeg.networks.spectral import plain_state_dict

logger = logging.getLogger(__name__)

NAMED = 5  # weights in a message
SCORING = "transeg_scoring"  # attribute of an evaluator that only scores weights: `BestModelSaver` saves nothing


def save_atomically(value: Any, path: Path) -> None:
    """`torch.save` that leaves either the old file or the complete new one, even if the process dies.

    `ignite.handlers.DiskSaver` neither syncs nor checks that the file can be loaded safely.

    Raises:
        TypeError: ``value`` has more than tensors and plain Python, so it could not be loaded safely.
    """
    with atomic(path, sync=True) as partial:
        with partial.open("wb") as file:
            torch.save(value, file)
        unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(partial)
        if unsafe:
            raise TypeError(f"{path} would hold objects that cannot be loaded safely: {sorted(unsafe)}.")


class BestModelSaver:
    """Saves the weights for inference: on an evaluator whenever its key metric is best, on a trainer at the end.

    Spectral norm is folded into the weights, so they load into the same network without it. The best score is part of
    `TrainingState`, so a resumed run does not overwrite a better model; MONAI's `CheckpointSaver` does neither.

    Args:
        path: file for the plain state dict.
        network: the network, or the averaged copy of it.
        half: store floating-point weights in half precision.
    """

    def __init__(self, path: str | os.PathLike, network: nn.Module, half: bool = False) -> None:
        self.path, self.network, self.half = Path(path), network, half

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator or a trainer."""
        if not isinstance(engine, Evaluator):
            engine.add_event_handler(Events.COMPLETED, self._save)
        elif engine.state.key_metric_name is None:
            raise DataError("BestModelSaver needs an evaluator with a key metric.")
        else:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._save_best)

    def _save_best(self, engine: Evaluator) -> None:
        if not getattr(engine, SCORING, False) and engine.state.best_metric_epoch == engine.state.epoch:
            self._save(engine)

    def _save(self, engine: Engine) -> None:
        if idist.get_rank() == 0:
            save_weights(self.network, self.path, self.half)


def save_weights(network: nn.Module, path: Path, half: bool = False) -> None:
    """Save the plain state dict of a network, in half precision if asked for."""
    state = plain_state_dict(network)
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_atomically({key: value.cpu() for key, value in state.items()}, path)


class WeightsLoader:
    """Loads the weights for inference at the start of a run.

    Reads safely and explains a mismatch, unlike MONAI's `CheckpointLoader`.

    Args:
        path: plain state dict, as written by `BestModelSaver`; half precision is converted.
        network: the network without spectral norm.

    Raises:
        DataError: at the start of the run, if the file is missing, cannot be read safely, or does not fit.
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
    """Load a plain state dict, as written by `BestModelSaver`, into a network with or without spectral norm.

    Raises:
        DataError: the file is missing, cannot be read safely, or its tensors do not fit the network; names up to
            five each that have another shape, are missing or unexpected.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; train first, download the bundle's weights, or set the path.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"{path} cannot be read as weights ({error}); copy or download it again.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise DataError(f"{path} is not a plain state dict; use the file written by BestModelSaver.")
    mismatch = _mismatch(network, state)
    if mismatch:
        raise DataError(
            f"{path} holds the weights of another network ({mismatch}); set channels, width and levels to those it was "
            "trained with."
        )
    network.load_state_dict(state)
    logger.info("Weights from %s.", path)


def _mismatch(network: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Differences between a plain state dict and that of a network, empty for none."""
    expected = plain_state_dict(network)
    other = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
        for key, value in expected.items()
        if key in state and state[key].shape != value.shape
    ]
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    found = {"other shape": other, "missing": missing, "unexpected": unexpected}
    return "; ".join(f"{kind}: {listed(names, NAMED)}" for kind, names in found.items() if names)
