"""Less memory in training: parts of a network are computed again in the backward instead of kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from transeg.networks.blocks import Block


def add_checkpointing(network: nn.Module, enabled: bool = True) -> nn.Module:
    """Keep only the input of each `Block`, in training and in place; returns the network, as it was if not `enabled`.

    Values, gradients and state stay the same. It cannot be scripted afterwards, so put it on the network that is
    trained, not on the one that ships. A block is computed a second time in the backward: about a quarter more
    time for the ResNet generator at half its memory.

    Raises:
        ValueError: a network with spectral norm, whose weights would differ the second time.
    """
    if not enabled:
        return network
    if any(parametrize.is_parametrized(module) for module in network.modules()):
        raise ValueError("spectral norm changes with each forward, so its blocks cannot be computed again: choose one")
    for module in network.modules():
        if isinstance(module, Block):
            module.forward = partial(_recomputed, module, module.forward)
    return network


def _recomputed(module: nn.Module, forward: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return checkpoint(forward, *inputs, use_reentrant=False) if module.training else forward(*inputs)
