"""Inference on whole volumes in tiles without seams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from transeg.networks.tiling import convolutions_in_tiles


class TiledInferer(Inferer):
    """Run a network on a whole volume, in one pass or, if too large, with its convolutions computed in tiles.

    Both give the same values, see `convolutions_in_tiles`; `seam_score` looks for seams at `tile_edges`. In tiles, the
    feature maps stay in host memory (for a `UNet`, about 7 of full width and resolution). MONAI's
    `SlidingWindowInferer` runs the whole network per tile, with other normalisation statistics in each.

    Called as `inferer(volume, network)` with a module or a bound method of one: (B, C, *S) -> (B, K, *S).

    Args:
        tile: even side of a tile in voxels.
        most_voxels: largest volume that is computed in one pass.
    """

    def __init__(self, tile: int = 96, most_voxels: int = 2**22) -> None:
        super().__init__()
        self.tile, self.most_voxels = tile, most_voxels

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the network.

        Raises:
            TypeError: tiles are needed, but `network` is neither a module nor a bound method of one.
        """
        if inputs[0, 0].numel() <= self.most_voxels:
            return network(inputs, *args, **kwargs)
        module = network if isinstance(network, torch.nn.Module) else getattr(network, "__self__", None)
        if not isinstance(module, torch.nn.Module):
            raise TypeError(f"{network} is neither a module nor a method of one, so it cannot be run in tiles.")
        plain = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        with torch.no_grad(), convolutions_in_tiles(module, self.tile):
            output = network(plain.cpu(), *args, **kwargs)
        return convert_to_dst_type(output, inputs)[0]


def tile_edges(size: Sequence[int], tile: int) -> list[list[int]]:
    """Start of each tile but the first along each axis of a volume."""
    return [list(range(tile, n, tile)) for n in size]
