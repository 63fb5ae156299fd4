"""Initial weights."""

from __future__ import annotations

import torch
from torch import nn


def initialise_kaiming(network: nn.Module, seed: int | None = None) -> nn.Module:
    """Kaiming-normal convolution weights (fan in), torch's default biases, norm gains from U(0, 1).

    The gains follow the published implementation of GenSeg. A seed makes the draw independent of the global state.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, nn.GroupNorm) and module.affine:
            nn.init.uniform_(module.weight, generator=generator)
    return network


def initialise_normal(network: nn.Module, std: float = 0.02) -> nn.Module:
    """Convolution weights from N(0, std^2), zero biases: the published initialisation of CycleGAN."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.normal_(module.weight, 0, std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network
