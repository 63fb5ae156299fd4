"""A U-Net laid out for its images, as the strong supervised baseline."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from transeg.errors import ConfigError

LEAST = 4  # voxels along an axis of the deepest map


class PlannedUNet(nn.Module):
    """MONAI's `DynUNet`, planned for the size of its images by the rules of nnU-Net (Isensee et al. 2021).

    Voxels are taken for isotropic: all kernels are 3 wide, and each axis is halved as long as at least 4 voxels remain.
    Images of any size are padded to a multiple of the strides, with the values at their border.

    In training mode, it returns the logits of all resolutions but the two lowest, at full size and finest first:
    (B, heads, out_channels, *S); otherwise those of the finest, (B, out_channels, *S).

    Args:
        in_channels: image channels.
        out_channels: maps of logits.
        image_size: what the network is planned for.
        width: channels at full resolution; doubled with each level.
        most: largest number of channels.

    Raises:
        ConfigError: no axis can be halved twice.
    """

    def __init__(
        self, in_channels: int, out_channels: int, image_size: Sequence[int], width: int = 32, most: int = 512
    ) -> None:
        super().__init__()
        strides = plan_strides(image_size)
        levels = len(strides)
        if levels < 2:
            raise ConfigError(f"image_size {list(image_size)}: too small for a U-Net, which halves an axis twice.")
        self.multiples = [2 ** sum(stride[axis] == 2 for stride in strides) for axis in range(len(image_size))]
        filters = [min(width * 2**level, most) for level in range(levels + 1)]
        net = DynUNet(
            spatial_dims=len(image_size),
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=[3] * (levels + 1),
            strides=[1, *strides],
            upsample_kernel_size=strides,
            filters=filters,
        )
        # its parts, since its forward cannot be scripted and its state holds each of them twice
        self.down = nn.ModuleList([net.input_block, *net.downsamples])
        self.bottleneck, self.up = net.bottleneck, net.upsamples
        kinds = [net.get_output_block(level) for level in range(1, max(levels - 1, 2))]
        self.heads = nn.ModuleList([net.output_block, *(head.apply(net.initialize_weights) for head in kinds)])

    def forward(self, image: Tensor) -> Tensor:
        pads: list[int] = []
        for axis in range(len(self.multiples) - 1, -1, -1):  # the last axis first
            pads += [0, -image.size(axis + 2) % self.multiples[axis]]
        x = F.pad(image, pads, mode="replicate") if sum(pads) > 0 else image
        skips: list[Tensor] = []
        for block in self.down:
            x = block(x)
            skips.append(x)
        x = self.bottleneck(x)
        features: list[Tensor] = []
        for block in self.up:
            x = block(x, skips[len(skips) - 1 - len(features)])
            features.append(x)
        maps: list[Tensor] = []
        for head in self.heads:
            if self.training or len(maps) == 0:
                logits = head(features[len(features) - 1 - len(maps)])
                maps.append(logits if len(maps) == 0 else F.interpolate(logits, maps[0].shape[2:]))
        found = torch.stack(maps, 1) if self.training else maps[0]
        first = found.dim() - len(self.multiples)
        for axis in range(len(self.multiples)):
            found = found.narrow(first + axis, 0, image.size(axis + 2))
        return found


def plan_strides(image_size: Sequence[int]) -> list[list[int]]:
    """Strides of each level below the first: 2 along the axes of which at least 4 voxels remain, else 1."""
    size, strides = list(image_size), []
    while any(n >= 2 * LEAST for n in size):
        strides.append([2 if n >= 2 * LEAST else 1 for n in size])
        size = [-(-n // step) for n, step in zip(size, strides[-1], strict=True)]
    return strides
