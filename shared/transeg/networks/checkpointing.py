"""Activation checkpointing: parts of a network are recomputed in the backward pass to save memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from transeg.errors import ConfigError
from transeg.networks.blocks import Block


def add_checkpointing(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Store only the input of each `Block` in training; in place, and without effect if not `enabled`.

    Values, gradients and state stay the same. The network cannot be scripted afterwards, so apply this to the network
    that is trained, not to the one that is exported. Blocks are computed a second time in the backward pass: the
    ResNet generator takes about a quarter more time and half the memory.

    Returns:
        The network.

    Raises:
        ConfigError: the network has spectral norm, so recomputed weights would differ.
    """
    if not enabled:
        return network
    if any(parametrize.is_parametrized(module) for module in network.modules()):
        raise ConfigError("spectral norm changes with every forward pass, so blocks cannot be recomputed; choose one")
    for module in network.modules():
        if isinstance(module, Block):
            module.forward = partial(_recomputed, module, module.forward)
    return network


def _recomputed(module: nn.Module, forward: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return checkpoint(forward, *inputs, use_reentrant=False) if module.training else forward(*inputs)
