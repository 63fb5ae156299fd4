"""Volumes too large for a device: convolutions are computed in tiles, with the result of the whole.

Each layer is finished before the next one begins, so a norm sees the statistics of the whole volume and nothing
depends on where the tiles lie. The maps between layers stay where the input is (in the memory of the host), a tile at a
time goes to the device of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product

from torch import Tensor, nn

from transeg.networks.blocks import UpsampleConv

HALO = 2  # voxels around a tile that its values depend on: kernels up to 5, and even, for those of stride 2


@contextmanager
def convolutions_in_tiles(network: nn.Module, tile: int) -> Iterator[None]:
    """Let the network compute its convolutions tile by tile while the context lasts, without gradients.

    Layers other than convolutions run on the whole maps, on the device of the input: they must have no weights if
    those are elsewhere.

    Args:
        network: with convolutions that keep or halve the size, and `UpsampleConv`; not scripted.
        tile: side of a tile in voxels of the larger of a convolution's input and output; even.

    Raises:
        ValueError: no convolutions, one of another kind, or an odd tile.
    """
    if tile < 2 or tile % 2:
        raise ValueError(f"tile must be an even number of voxels, got {tile}.")
    layers = list(_convolutions(network))
    if not layers:
        raise ValueError(f"{type(network).__name__} has no convolutions to be computed in tiles; scripted ones hide.")
    try:
        for layer in layers:
            layer.forward = partial(_in_tiles, layer, layer.forward, tile)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _convolutions(network: nn.Module, name: str = "network") -> Iterator[nn.Module]:
    if isinstance(network, UpsampleConv):
        yield network
    elif isinstance(network, nn.Conv2d | nn.Conv3d):
        halves = tuple(n // 2 for n in network.kernel_size)
        known = network.padding == halves and max(halves) <= HALO and all(n % 2 for n in network.kernel_size)
        plain = set(network.dilation) == {1} and network.padding_mode == "zeros" and len(set(network.stride)) == 1
        if not (known and plain and network.stride[0] <= 2):
            raise ValueError(f"{name} = {network} cannot be computed in tiles: zero border, kernel to 5, stride to 2.")
        yield network
    elif isinstance(network, nn.ConvTranspose2d | nn.ConvTranspose3d):
        raise ValueError(f"{name} = {network} cannot be computed in tiles: use upsampling and a convolution.")
    else:
        for key, child in network.named_children():
            yield from _convolutions(child, f"{name}.{key}")


def _in_tiles(layer: nn.Module, forward: Callable[[Tensor], Tensor], tile: int, x: Tensor) -> Tensor:
    """What `forward` makes of x (B, C, *S): each tile with its halo, of which nothing is kept."""
    up, down = (2, 1) if isinstance(layer, UpsampleConv) else (1, layer.stride[0])
    device, step, size = next(layer.parameters()).device, tile // up, x.shape[2:]

    def scaled(position: int) -> int:
        return -(-position * up // down)

    out = None
    for box in product(*([(a, min(a + step, n)) for a in range(0, n, step)] for n in size)):
        low = [max(a - HALO, 0) for a, _ in box]
        piece = x[(..., *(slice(first, b + HALO) for first, (_, b) in zip(low, box, strict=True)))]
        y = forward(piece.to(device)).to(x.device)
        if out is None:
            out = y.new_empty([*y.shape[:2], *(scaled(n) for n in size)])
        kept = [
            slice(scaled(a) - scaled(first), scaled(b) - scaled(first)) for first, (a, b) in zip(low, box, strict=True)
        ]
        out[(..., *(slice(scaled(a), scaled(b)) for a, b in box))] = y[(..., *kept)]
    return out
