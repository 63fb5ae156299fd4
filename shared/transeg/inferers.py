"""Inference on whole volumes: by halves of slices, in tiles without seams, by modality; on slices before a training."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike
from monai.data import MetaTensor
from monai.inferers import Inferer, SliceInferer
from monai.utils import convert_to_dst_type, ensure_tuple

from transeg.engines import load_weights
from transeg.networks import convolutions_in_tiles
from transeg.transforms.modality import MODALITY


class HalfSliceInferer(SliceInferer):
    """Run a 2D network on the left and the right half of every axial slice, without a seam down the middle.

    Both halves reach over the midline; in the overlap their outputs are blended with weights that change
    linearly and sum to one.

    Args:
        size: (X, Y) of the slices of the volume, as given to the preprocessing.
        margin: voxels by which a half reaches over the midline.
        sw_batch_size: half-slices in one call of the network.

    Called as `inferer(volume, network)`: (B, C, X, Y, Z) -> (B, K, X, Y, Z).
    """

    def __init__(self, size: Sequence[int], margin: int = 8, sw_batch_size: int = 32) -> None:
        width, height = size
        half = (width + 1) // 2 + margin
        if not 0 < 2 * half - width <= half <= width:
            raise ValueError(f"margin {margin} does not fit a slice of {width} voxels: use 1 to {width // 6}")
        # without overlap asked for, the window that would stick out is moved back: two windows, one at each edge
        super().__init__(
            spatial_dim=2, roi_size=(half, height), sw_batch_size=sw_batch_size, overlap=0, mode="constant"
        )
        self.size = (width, height)
        distance = torch.arange(half) + 0.5
        ramp = (torch.minimum(distance, half - distance) / (2 * half - width)).clamp(max=1)
        self.roi_weight_map = ramp[:, None, None].expand(half, height, 1).contiguous()

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        """Check the size of the slices, which the cut at mid-width depends on, and run."""
        if tuple(inputs.shape[2:4]) != self.size:
            raise ValueError(f"slices of {tuple(inputs.shape[2:4])} voxels given, but the inferer is for {self.size}")
        return super().__call__(inputs, network, *args, **kwargs)


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


class ModalityInferer(TiledInferer):
    """Segment a volume as the modality that its meta data tell, in tiles where needed.

    Called as `inferer(volume, network)`, the network one such as `CardiacNet`: (B, C, *S), from `heart_preprocessing`,
    -> logits (B, classes, *S). With a method of the network it is a `TiledInferer`.
    """

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        """Run the segmenter of the modality, or the method.

        Raises:
            ValueError: a network, but no modality in the meta data, or several in one batch.
        """
        if isinstance(network, torch.nn.Module):
            noted = ensure_tuple(inputs.meta.get(MODALITY, ())) if isinstance(inputs, MetaTensor) else ()
            if len(set(noted)) != 1:
                raise ValueError(f"volumes of one modality are needed, their meta data tell {sorted(set(noted))}")
            network, args = network.segment, (noted[0], *args)
        return super().__call__(inputs, network, *args, **kwargs)


def tile_edges(size: Sequence[int], tile: int) -> list[list[int]]:
    """Where the tiles of a volume of this size begin, the first left out, along each axis."""
    return [list(range(tile, n, tile)) for n in size]


class SliceProbabilities:
    """Probability of the lesion in slices, by the weights that inference uses.

    Args:
        network: one of their form, with or without spectral norm; stays as it is.
        path: the weights, see `transeg.engines.load_weights`.
        transform: from an item to a dict with "image" (C, X, Y).
        probability: from images and the network's output for them to probabilities (B, K, X, Y), of which the first
            counts; default the sigmoid of the output.
        batch_size: slices in one call of the network.

    Called with N items it returns (N, X, Y), or None where no weights are there.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        path: PathLike,
        transform: Callable[[dict[str, Any]], Mapping[str, Any]],
        probability: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        batch_size: int = 32,
    ) -> None:
        self.network, self.path, self.transform, self.batch_size = network, Path(path), transform, batch_size
        self.probability = probability or (lambda images, logits: logits.sigmoid())

    @cached_property
    def _trained(self) -> torch.nn.Module:
        trained = copy.deepcopy(self.network)
        load_weights(trained, self.path)
        return trained.eval()

    @torch.inference_mode()
    def __call__(self, items: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """Run the network on the items' slices."""
        if not self.path.is_file():
            return None
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(items), self.batch_size):
            slices = [self.transform(dict(item))["image"] for item in items[start : start + self.batch_size]]
            images = torch.stack(slices).to(device)
            parts.append(self.probability(images, self._trained(images))[:, 0].cpu().numpy())
        return np.concatenate(parts)
