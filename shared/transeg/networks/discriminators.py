"""Patch discriminators, at one scale or several."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

from transeg.networks.blocks import CONV, ReflectConv, make_norm
from transeg.networks.initialise import initialise_kaiming


class ScaleDiscriminator(nn.Module):
    """Stride-2 convolutions to a map of logits (GenSeg, Table 1; LeakyReLU 0.2; layer norm from the second on).

    Shapes: (B, in_channels, *S) -> (B, 1, *s).

    Args:
        widths: channels of the stride-2 convolutions: 64, 128, 256, 512 in the paper, without the first for
            48-pixel images. The first convolution is not normalised.
    """

    def __init__(self, spatial_dims: int, in_channels: int, widths: Sequence[int], norm: str = "layer") -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for index, width in enumerate(widths):
            layers.append(ReflectConv(spatial_dims, channels, width, 4, stride=2, padding=1))
            if index > 0:
                layers.append(make_norm(norm, spatial_dims, width))
            layers.append(nn.LeakyReLU(0.2, inplace=True))
            channels = width
        layers.append(CONV[spatial_dims](channels, 1, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


# Not monai's MultiScalePatchDiscriminator: its scales see one image through more layers, not a pyramid.
class MultiScaleDiscriminator(nn.Module):
    """One `ScaleDiscriminator` per level of an average-pooling pyramid (GenSeg, section 4.2).

    Shapes: (B, in_channels, *S) -> a list with one map of logits (B, 1, *s) per scale.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 4,
        widths: Sequence[int] = (64, 128, 256, 512),
        scales: int = 3,
        norm: str = "layer",
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList(ScaleDiscriminator(spatial_dims, in_channels, widths, norm) for _ in range(scales))
        initialise_kaiming(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        for index, scale in enumerate(self.scales):
            if index > 0:
                x = _halve(x)
            maps.append(scale(x))
        return maps


def _halve(x: Tensor) -> Tensor:
    pool = F.avg_pool2d if x.dim() == 4 else F.avg_pool3d
    return pool(x, 3, 2, 1, count_include_pad=False)


class PatchGAN(PatchDiscriminator):
    """The discriminator of pix2pix and CycleGAN: 4x4 convolutions to logits, one per patch.

    Shapes: (B, in_channels, *S) -> a list with one map of logits (B, 1, *s); 256 x 256 gives 30 x 30.

    Args:
        width: channels after the first convolution (64 in the papers), doubled by each of the ``layers``.
        layers: stride-2 convolutions; 1, 2 and 3 give receptive fields of 16, 34 and 70 voxels.
        norm: monai's name of the norm; "instance" has no gain and bias.
        domains: logits per patch; for several see `DomainLogits`.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        width: int = 64,
        layers: int = 3,
        norm: str = "instance",
        domains: int = 1,
    ) -> None:
        activation = ("leakyrelu", {"negative_slope": 0.2, "inplace": True})
        super().__init__(spatial_dims, width, in_channels, domains, layers, activation=activation, norm=norm, bias=True)

    def forward(self, x: Tensor) -> list[Tensor]:
        return super().forward(x)[-1:]  # without the features


class DomainLogits(nn.Module):
    """The logits of one domain from a discriminator of several: one network for both directions of a cycle.

    Shapes: (B, C, *S) -> a list with one map of logits (B, 1, *s) per scale.

    Args:
        discriminator: returns maps (B, domains, *s); shared by the `DomainLogits` of the other domains.
        domain: index of the logits.
    """

    def __init__(self, discriminator: nn.Module, domain: int) -> None:
        super().__init__()
        self.discriminator, self.domain = discriminator, domain

    def forward(self, x: Tensor) -> list[Tensor]:
        return [logits[:, self.domain : self.domain + 1] for logits in self.discriminator(x)]
