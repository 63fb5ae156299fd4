"""Inference on whole volumes by halves of axial slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.inferers import SliceInferer


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
