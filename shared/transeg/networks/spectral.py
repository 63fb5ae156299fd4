"""Spectral norm for training, and plain weights for shipping (it cannot be scripted)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm


def add_spectral_norm(network: nn.Module, exclude: Sequence[str] = ("classifier",)) -> nn.Module:
    """Apply spectral norm to every convolution whose path holds none of the names in ``exclude``; returns network."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not set(name.split(".")) & set(exclude):
            spectral_norm(module)
    return network


def plain_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """State of the same network without parametrizations: each holds the effective weight.

    Loads into a network that never had spectral norm. The network itself stays as it is.
    """
    state = {}
    for path, module in network.named_modules():
        prefix = path + "." if path else ""
        if parametrize.is_parametrized(module):
            was_training = module.training
            module.eval()  # no power iteration while reading
            for name in module.parametrizations:
                state[prefix + name] = getattr(module, name).detach().clone()
            module.train(was_training)
    for key, value in network.state_dict().items():
        if ".parametrizations." not in f".{key}":
            state[key] = value.detach().clone()
    return state
