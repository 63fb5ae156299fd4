"""Spectral norm for training, and plain weights for export (parametrisations cannot be scripted)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

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
    """W / sigma, sigma = u^T W v with u and v held constant, of several weights: two passes over each W.

    Values and gradients equal autograd's, which allocates eight tensors of the size of W; for large kernels these cost
    more than the arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        weights, sigmas = tensors[:count], tensors[count : 2 * count]
        normalised = [weight / sigma for weight, sigma in zip(weights, sigmas, strict=True)]
        ctx.count = count
        ctx.save_for_backward(*normalised, *tensors[count:])
        ctx.set_materialize_grads(False)
        return tuple(normalised)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        n, found = ctx.count, ctx.saved_tensors
        parts = zip(gradients, found[:n], found[n : 2 * n], found[2 * n : 3 * n], found[3 * n :], strict=True)
        return (None, *(_weight_gradient(*part) for part in parts), *[None] * (3 * n))


def _weight_gradient(gradient: Tensor | None, normalised: Tensor, sigma: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    if gradient is None:  # this weight was not used
        return None
    aligned = torch.empty_like(normalised)  # in the memory order of the weight, which v has
    torch.div(gradient, sigma, out=aligned)
    rows = _rows(aligned)
    along = torch.dot(rows.flatten(), _rows(normalised).flatten())
    rows.addr_(u * -along, v)
    return aligned


class SpectralNorm(nn.Module):
    """Parametrisation that divides a convolution's kernel by its largest singular value (Miyato et al. 2018).

    One power iteration per forward in training mode. Values and state are those of
    `torch.nn.utils.parametrizations.spectral_norm`, but kernels in channels-last memory are not copied and the backward
    pass is cheaper. Not twice differentiable. Within `weights_once`, the norms of a `SpectralGroup` are computed
    together.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Tensor, iterations: int = 15) -> None:
        super().__init__()
        rows = weight.detach().flatten(1)
        self.register_buffer("_u", F.normalize(torch.randn_like(rows[:, 0]), dim=0))
        self.register_buffer("_v", F.normalize(torch.randn_like(rows[0]), dim=0))
        for _ in range(iterations):
            self._u = F.normalize(torch.mv(rows, self._v), dim=0)
            self._v = F.normalize(torch.mv(rows.T, self._u), dim=0)
        self.group: SpectralGroup | None = None

    def forward(self, weight: Tensor) -> Tensor:
        if _PHASES and self.group is not None:
            return self.group.normalised(self, _PHASES[-1])
        return _normalise([self], [weight])[0]

    def view_v(self, weight: Tensor) -> Tensor:
        """v as a kernel (I, *K), its axes in the order of the memory of the weight."""
        return self._v.view(weight.shape[1:]).permute([axis - 1 for axis in _memory_order(weight)[1:]])


def _normalise(norms: Sequence[SpectralNorm], weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The weights divided by their largest singular values; in training after a power iteration."""
    with torch.autocast(weights[0].device.type, enabled=False):
        with torch.no_grad():
            rows = [_rows(weight) for weight in weights]
            views = [norm.view_v(weight) for norm, weight in zip(norms, weights, strict=True)]
            vs = [view.flatten() for view in views]
            if norms[0].training:
                us = _unit([torch.mv(row, v) for row, v in zip(rows, vs, strict=True)])[0]
                vs, sigmas = _unit([torch.mv(row.T, u) for row, u in zip(rows, us, strict=True)])
                torch._foreach_copy_([norm._u for norm in norms], us)
                torch._foreach_copy_(views, [v.view(view.shape) for v, view in zip(vs, views, strict=True)])
            else:
                us = [norm._u.clone() for norm in norms]  # a later call in training changes it in place
                vs = [v.clone() for v in vs]
                sigmas = [torch.dot(u, torch.mv(row, v)) for u, row, v in zip(us, rows, vs, strict=True)]
        return _Divide.apply(len(weights), *weights, *sigmas, *us, *vs)


def _unit(vectors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Vectors of length 1, and the lengths."""
    lengths = list(torch._foreach_norm(vectors))
    torch._foreach_clamp_min_(lengths, 1e-12)
    return list(torch._foreach_div(vectors, lengths)), lengths


class SpectralGroup:
    """The spectral norms of a network, which are computed together at the first use of one within a phase."""

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []
        self.found: dict[SpectralNorm, Tensor] = {}

    def add(self, module: nn.Module) -> None:
        """Add a convolution with spectral norm."""
        self.modules.append(module)
        _norm_of(module).group = self

    def normalised(self, norm: SpectralNorm, phase: set[SpectralGroup]) -> Tensor:
        """Normalised weight of one of the norms; `phase` holds the groups that were computed in it."""
        if self not in phase:
            phase.add(self)
            norms = [_norm_of(module) for module in self.modules]
            weights = [cast(Any, module).parametrizations.weight.original for module in self.modules]
            self.found = dict(zip(norms, _normalise(norms, weights), strict=True))
        return self.found[norm]


_PHASES: list[set[SpectralGroup]] = []


@contextmanager
def weights_once() -> Iterator[None]:
    """Parametrised weights are computed once within the block, spectral norms of a network at once."""
    with parametrize.cached():
        _PHASES.append(set())
        try:
            yield
        finally:
            for group in _PHASES.pop():
                group.found = {}


def _norm_of(module: nn.Module) -> SpectralNorm:
    return cast(Any, module).parametrizations.weight[0]


def add_spectral_norm(network: nn.Module, exclude: Sequence[str] = ("classifier",), enabled: bool = True) -> nn.Module:
    """Apply spectral norm to every convolution whose path holds none of the names in ``exclude``, if ``enabled``.

    Returns the network.

    The network also loads plain weights, such as those of `plain_state_dict`, to fine-tune released weights. Until the
    first training step its outputs equal theirs.
    """
    if not enabled:
        return network
    group = SpectralGroup()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and not set(name.split(".")) & set(exclude):
            parametrize.register_parametrization(module, "weight", SpectralNorm(module.weight))
            group.add(module)
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
