"""Statistics network of the mutual information neural estimator (Belghazi et al. 2018)."""

from __future__ import annotations

from torch import Tensor, nn

from transeg.networks.blocks import CONV


class MutualInformationNet(nn.Module):
    """Scores how well a common and a unique code belong together.

    Shapes: common (B, common_channels, *s), unique (B, unique_channels, *s) -> (B,).
    """

    def __init__(self, spatial_dims: int = 2, common_channels: int = 384, unique_channels: int = 128, width: int = 128):
        super().__init__()
        conv = CONV[spatial_dims]
        self.common = conv(common_channels, width, 1)
        self.unique = conv(unique_channels, width, 1)
        self.head = nn.Sequential(nn.ReLU(), conv(width, width, 1), nn.ReLU(), conv(width, 1, 1))

    def forward(self, common: Tensor, unique: Tensor) -> Tensor:
        return self.head(self.common(common) + self.unique(unique)).flatten(1).mean(1)
