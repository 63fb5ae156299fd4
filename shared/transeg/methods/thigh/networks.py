"""Two generators, from hard to easy images and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from transeg.networks.resnet import ResNetGenerator


class ThighNet(nn.Module):
    """Both directions of a cycle in one module: F from the hard to the easy domain, G back.

    ``forward`` is F, which inference needs: image (B, C, *S) -> its easy counterpart (B, C, *S) in [-1, 1].
    Arguments as in `ResNetGenerator`.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: int = 1,
        width: int = 64,
        levels: int = 2,
        blocks: int = 9,
        upsampling: str = "transposed",
        norm: str = "instance",
    ) -> None:
        super().__init__()
        shape = {"width": width, "levels": levels, "blocks": blocks, "upsampling": upsampling, "norm": norm}
        self.hard_to_easy = ResNetGenerator(spatial_dims, channels, channels, **shape)
        self.easy_to_hard = ResNetGenerator(spatial_dims, channels, channels, **shape)

    def forward(self, image: Tensor) -> Tensor:
        return self.hard_to_easy(image)

    @torch.jit.export
    def reverse(self, image: Tensor) -> Tensor:
        """G: image of the easy domain (B, C, *S) -> a hard counterpart (B, C, *S)."""
        return self.easy_to_hard(image)
