"""Inference on whole volumes: by halves of slices, in tiles without seams, by modality; on slices before a training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type

from transeg.networks.tiling import convolutions_in_tiles


class TiledInferer(Inferer):
    """Run a network on a whole volume, in one pass, or with its convolutions in tiles where that takes too much memory.

    Both give the same values, see `convolutions_in_tiles`; `seam_score` looks for traces at `tile_edges`. The tiled way
    keeps the maps of the network in the memory of the host, about 7 of full width and size for a `UNet`.

    Args:
        tile: side of a tile in voxels, even.
        most_voxels: of a volume that is computed in one pass.

    Called as `inferer(volume, network)`, the network a module or a method of one: (B, C, *S) -> (B, K, *S).
    """

    def __init__(self, tile: int = 96, most_voxels: int = 2**22) -> None:
        super().__init__()
        self.tile, self.most_voxels = tile, most_voxels

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        """Run the network.

        Raises:
            TypeError: a volume to be tiled, but neither a module nor a method of one.
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
    """Where the tiles of a volume of this size begin, the first left out, along each axis."""
    return [list(range(tile, n, tile)) for n in size]
