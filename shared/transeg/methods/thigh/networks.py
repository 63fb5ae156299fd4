"""The two generators of Gadermayr et al. 2021: from the hard to the easy domain and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transeg.networks.resnet import ResNetGenerator


class ThighNet(nn.Module):
    """Both generators of a CycleGAN in one module: F from the hard to the easy domain, G back.

    ``forward`` is F, as used at inference: image (B, C, *S) -> its easy counterpart (B, C, *S) in [-1, 1].
    Arguments as for `ResNetGenerator`.
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
        residual: bool = False,
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {
            "width": width,
            "levels": levels,
            "blocks": blocks,
            "upsampling": upsampling,
            "norm": norm,
            "residual": residual,
        }
        self.hard_to_easy = ResNetGenerator(spatial_dims, channels, channels, **options)
        self.easy_to_hard = ResNetGenerator(spatial_dims, channels, channels, **options)

    def forward(self, image: Tensor) -> Tensor:
        return self.hard_to_easy(image)

    @torch.jit.export
    def reverse(self, image: Tensor) -> Tensor:
        """G: image of the easy domain (B, C, *S) -> a hard counterpart (B, C, *S)."""
        return self.easy_to_hard(image)
