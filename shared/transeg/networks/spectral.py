"""Spectral norm for training, and plain weights for export (parametrisations cannot be scripted)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils import parametrize


def _rows(weight: Tensor) -> Tensor:
    """Kernel (O, I, *K) as a matrix (O, I * |K|) without a copy: its columns are in memory order."""
    return weight.permute(_memory_order(weight)).flatten(1)


def _memory_order(weight: Tensor) -> list[int]:
    """Axes from slow to fast, output channels first."""
    strides = weight.stride()
    return [0, *sorted(range(1, weight.dim()), key=lambda axis: -strides[axis])]


class _Divide(torch.autograd.Function):
    """W / (u^T W v) with u and v held constant, in two passes over W and three over its gradient.

    Values and gradients equal autograd's, which allocates eight tensors of the size of W; for large kernels these cost
    more than the arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
        sigma = torch.dot(u, torch.mv(_rows(weight), v))
        normalised = weight / sigma
        ctx.save_for_backward(normalised, sigma, u, v)
        return normalised

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        normalised, sigma, u, v = ctx.saved_tensors
        aligned = torch.empty_like(normalised)  # in the memory order of the weight, which v has
        torch.div(gradient, sigma, out=aligned)
        along = torch.dot(_rows(aligned).flatten(), _rows(normalised).flatten())
        _rows(aligned).addr_(u * -along, v)
        return aligned, None, None


class SpectralNorm(nn.Module):
    """Parametrisation that divides a convolution's kernel by its largest singular value (Miyato et al. 2018).

    One power iteration per forward in training mode. Values and state are those of
    `torch.nn.utils.parametrizations.spectral_norm`, but kernels in channels-last memory are not copied and the backward
    pass is cheaper. Not twice differentiable.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, iterations: int = 15) -> None:
        super().__init__()
        rows = weight.detach().flatten(1)
        self.register_buffer("_u", F.normalize(torch.randn_like(rows[:, 0]), dim=0))
        self.register_buffer("_v", F.normalize(torch.randn_like(rows[0]), dim=0))
        self._v = self._iterate(rows, self._v, iterations)

    def _iterate(self, rows: Tensor, v: Tensor, iterations: int = 1) -> Tensor:
        for _ in range(iterations):
            F.normalize(torch.mv(rows, v), dim=0, out=self._u)
            v = F.normalize(torch.mv(rows.T, self._u), dim=0)
        return v

    def forward(self, weight: Tensor) -> Tensor:
        kernel, order = weight.shape[1:], [axis - 1 for axis in _memory_order(weight)[1:]]
        with torch.autocast(weight.device.type, enabled=False):
            v = self._v.view(kernel).permute(order).flatten()
            if self.training:
                with torch.no_grad():
                    v = self._iterate(_rows(weight), v)
                    self._v.view(kernel).permute(order).copy_(v.view([kernel[axis] for axis in order]))
            return _Divide.apply(weight, self._u.clone(), v)  # a later call changes u in place


def add_spectral_norm(network: nn.Module, exclude: Sequence[str] = ("classifier",), enabled: bool = True) -> nn.Module:
    """Apply spectral norm to every convolution whose path holds none of the names in ``exclude``, if ``enabled``.

    Returns the network.

    The network also loads plain weights, such as those of `plain_state_dict`, to fine-tune released weights. Until the
    first training step its outputs equal theirs.
    """
    if not enabled:
        return network
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not set(name.split(".")) & set(exclude):
            parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))
    network.register_load_state_dict_pre_hook(_accept_plain)
    return network


def _accept_plain(network: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Convert plain weights of normalised convolutions to parametrised state."""
    for path, module in network.named_modules():
        place = f"{prefix}{path}." if path else prefix
        if parametrize.is_parametrized(module, "weight") and place + "weight" in state:
            weight = state.pop(place + "weight")
            u, sigma, v = torch.linalg.svd(weight.float().flatten(1), full_matrices=False)
            norm = place + "parametrizations.weight."
            # the norm of trained weights is not exactly 1, as power iteration lags; dividing v by it keeps them as is
            state |= {norm + "original": weight, norm + "0._u": u[:, 0], norm + "0._v": v[0] / sigma[0]}


def plain_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """State of the same network without parametrisations, holding the effective weights.

    It loads into a network that never had spectral norm. ``network`` itself is not changed.
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
