"""Whole-volume inference in axial half-slices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import SliceInferer

from transeg.errors import ConfigError


class HalfSliceInferer(SliceInferer):
    """Run a 2D network on the left and right half of every axial slice, without a seam at the midline.

    Both halves extend beyond the midline; in the overlap their outputs are blended with linear weights that sum to
    one.

    Args:
        size: (X, Y) of the axial slices, as given to the preprocessing.
        margin: voxels by which a half extends beyond the midline.
        sw_batch_size: half-slices per forward pass of the network.

    Called as `inferer(volume, network)`: (B, C, X, Y, Z) -> (B, K, X, Y, Z).

    Raises:
        ValueError: a margin that does not fit the width; when called, slices of another size.
    """

    def __init__(self, size: Sequence[int], margin: int = 8, sw_batch_size: int = 32) -> None:
        width, height = size
        half = (width + 1) // 2 + margin
        if not 0 < 2 * half - width <= half <= width:
            raise ConfigError(f"margin {margin} does not fit a width of {width} voxels; choose 1 to {width // 6}")
        # with overlap 0 the window that would extend beyond the slice is moved back: two windows, one at each edge
        super().__init__(
            spatial_dim=2, roi_size=(half, height), sw_batch_size=sw_batch_size, overlap=0, mode="constant"
        )
        self.size = (width, height)
        distance = torch.arange(half) + 0.5
        ramp = (torch.minimum(distance, half - distance) / (2 * half - width)).clamp(max=1)
        self.roi_weight_map = ramp[:, None, None].expand(half, height, 1).contiguous()

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Check the size of the slices, on which the midline depends, and run."""
        if tuple(inputs.shape[2:4]) != self.size:
            raise ValueError(f"expected slices of {self.size} voxels, got {tuple(inputs.shape[2:4])}")
        return super().__call__(inputs, network, *args, **kwargs)
