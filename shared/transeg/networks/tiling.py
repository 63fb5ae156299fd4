"""Convolutions in tiles for volumes that exceed device memory, with the same result as on the full volume.

Each layer is finished before the next begins, so norms see the statistics of the full volume and the result does not
depend on the tile positions. Maps between layers stay with the input (in host memory); one tile at a time is moved to
the device of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product

from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.networks.blocks import UpsampleConv

Convolution = UpsampleConv | nn.Conv2d | nn.Conv3d
HALO = 2  # voxels of context around a tile: kernels up to 5; even, for convolutions of stride 2


@contextmanager
def convolutions_in_tiles(network: nn.Module, tile: int) -> Iterator[None]:
    """Compute the convolutions of a network tile by tile within the context, without gradients.

    Other layers run on the full maps, on the device of the input; if the network is elsewhere they must have no
    weights.

    Args:
        network: not scripted, with convolutions that keep or halve the size and `UpsampleConv`.
        tile: even side of a tile, in voxels of the larger of a convolution's input and output.

    Raises:
        ValueError: no convolutions, an unsupported one, or an odd tile.
    """
    if tile < 2 or tile % 2:
        raise ConfigError(f"tile must be an even number of voxels, got {tile}.")
    layers = list(_convolutions(network))
    if not layers:
        raise ValueError(f"{type(network).__name__} has no convolutions to tile; those of scripted ones are hidden.")
    try:
        for layer in layers:
            vars(layer)["forward"] = partial(_in_tiles, layer, layer.forward, tile)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)


def _convolutions(network: nn.Module, name: str = "network") -> Iterator[Convolution]:
    if isinstance(network, UpsampleConv):
        yield network
    elif isinstance(network, nn.Conv2d | nn.Conv3d):
        halves = tuple(n // 2 for n in network.kernel_size)
        known = network.padding == halves and max(halves) <= HALO and all(n % 2 for n in network.kernel_size)
        plain = set(network.dilation) == {1} and network.padding_mode == "zeros" and len(set(network.stride)) == 1
        if not (known and plain and network.stride[0] <= 2):
            raise ConfigError(
                f"{name} = {network} cannot be tiled: use zero padding, odd kernels up to 5, stride 1 or 2."
            )
        yield network
    elif isinstance(network, nn.ConvTranspose2d | nn.ConvTranspose3d):
        raise ConfigError(f"{name} = {network} cannot be tiled: use upsampling and a convolution.")
    else:
        for key, child in network.named_children():
            yield from _convolutions(child, f"{name}.{key}")


def _in_tiles(layer: Convolution, forward: Callable[[Tensor], Tensor], tile: int, x: Tensor) -> Tensor:
    """Apply `forward` to x (B, C, *S) tile by tile; each tile has a halo, which is cropped from its output."""
    up, down = (2, 1) if isinstance(layer, UpsampleConv) else (1, layer.stride[0])
    device, step, size = next(layer.parameters()).device, tile // up, x.shape[2:]

    def scaled(position: int) -> int:
        return -(-position * up // down)

    out: Tensor | None = None
    for box in product(*([(a, min(a + step, n)) for a in range(0, n, step)] for n in size)):
        starts = [max(a - HALO, 0) for a, _ in box]
        piece = x[_spatial(slice(start, b + HALO) for start, (_, b) in zip(starts, box, strict=True))]
        y = forward(piece.to(device)).to(x.device)
        if out is None:
            out = y.new_empty([*y.shape[:2], *(scaled(n) for n in size)])
        skipped = map(scaled, starts)
        kept = _spatial(slice(scaled(a) - k, scaled(b) - k) for k, (a, b) in zip(skipped, box, strict=True))
        out[_spatial(slice(scaled(a), scaled(b)) for a, b in box)] = y[kept]
    assert out is not None  # every axis has a tile
    return out


def _spatial(slices: Iterable[slice]) -> tuple[slice, ...]:
    """Index of a box in (B, C, *S)."""
    return slice(None), slice(None), *slices
