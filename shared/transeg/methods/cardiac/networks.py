"""U-Nets that translate and segment whole volumes: Zhang et al. 2018, section 4.1.

Three levels below full resolution, two 3x3x3 convolutions per level, channels doubled from level to level. A
convolution after nearest-neighbour upsampling halves the channels and avoids checkerboard artefacts. The paper
specifies neither widths nor padding: zero padding is used throughout, also where the upsampling convolution is computed
at low resolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.networks.blocks import CONV, Block, UpsampleConv, crop_to, make_norm
from transeg.networks.initialise import initialise_normal
from transeg.networks.resnet import downsampling

_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


def _two_convolutions(spatial_dims: int, in_channels: int, out_channels: int, norm: str) -> list[nn.Module]:
    """Twice: 3x3x3 convolution, norm, ReLU."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(CONV[spatial_dims](channels, out_channels, 3, padding=1))
        layers += [make_norm(norm, spatial_dims, out_channels, affine=False), nn.ReLU(inplace=True)]
    return layers


class UNetEncoderBlock(Block):
    """One level of the encoder: (B, in_channels, *S) -> (B, out_channels, *S'), S' = S or S / 2.

    Args:
        down: "none", "convolution" (stride 2, doubles the channels) or "pool" (2x2x2 max pooling).
    """

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, norm: str, down: str) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if down == "convolution":
            layers += downsampling(spatial_dims, in_channels, norm)
            in_channels = 2 * in_channels
        elif down == "pool":
            layers.append(_POOL[spatial_dims](2))
        elif down != "none":
            raise ConfigError(f"Unknown downsampling '{down}': choose none, convolution or pool.")
        self.layers = nn.Sequential(*layers, *_two_convolutions(spatial_dims, in_channels, out_channels, norm))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class UNetDecoderBlock(Block):
    """One level of the decoder: (B, 2 * channels, *S) and the skip (B, channels, *2S) -> (B, channels, *2S).

    Args:
        out_channels: output channels of a final 1x1x1 convolution; 0 for none. It is part of the last block so that
            `add_checkpointing` stores no full-width map for it.
    """

    def __init__(self, spatial_dims: int, channels: int, norm: str, out_channels: int = 0) -> None:
        super().__init__()
        self.up = nn.Sequential(
            UpsampleConv(spatial_dims, 2 * channels, channels, 3, border="zero"),
            make_norm(norm, spatial_dims, channels, affine=False),
            nn.ReLU(inplace=True),
        )
        layers = _two_convolutions(spatial_dims, 2 * channels, channels, norm)
        if out_channels:
            layers.append(CONV[spatial_dims](channels, out_channels, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.layers(torch.cat([self.up(x), skip], dim=1))


def pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """Pad x (B, C, *S) at the end by replication until every side is a multiple of `divisor`."""
    pad: list[int] = []
    for axis in range(x.dim() - 1, 1, -1):  # F.pad starts at the last axis
        pad += [0, (divisor - x.size(axis) % divisor) % divisor]
    return F.pad(x, pad, mode="replicate") if sum(pad) > 0 else x


class UNet(nn.Module):
    """U-Net with output of the input size, see the module.

    Shapes: (B, in_channels, *S) -> (B, out_channels, *S). Sides that are not multiples of 2^levels are padded and the
    output is cropped.

    Args:
        width: channels at full resolution, doubled on each of the ``levels`` below it.
        norm: see `make_norm`; without gain and bias.
        down: see `UNetEncoderBlock`.
        activation: applied to the output.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        width: int,
        levels: int,
        norm: str,
        down: str,
        activation: nn.Module,
    ) -> None:
        super().__init__()
        blocks = [UNetEncoderBlock(spatial_dims, in_channels, width, norm, "none")]
        for level in range(levels):
            channels = width * 2**level
            blocks.append(UNetEncoderBlock(spatial_dims, channels, 2 * channels, norm, down))
        self.encoder = nn.ModuleList(blocks)
        self.decoder = nn.ModuleList(
            UNetDecoderBlock(spatial_dims, width * 2**level, norm, 0 if level else out_channels)
            for level in reversed(range(levels))
        )
        self.activation = activation
        self.divisor = 2**levels

    def forward(self, image: Tensor) -> Tensor:
        x = pad_to_multiple(image, self.divisor)
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
        skips.pop()
        for block in self.decoder:
            x = block(x, skips.pop())
        return crop_to(self.activation(x), list(image.shape[2:]))


class UNetGenerator(UNet):
    """Generator: instance norm, strided convolutions in the encoder, tanh.

    Shapes: (B, in_channels, *S) -> (B, out_channels, *S) in [-1, 1], with S > 2^levels. Initialised as in CycleGAN.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 16,
        levels: int = 3,
        norm: str = "instance",
    ) -> None:
        super().__init__(spatial_dims, in_channels, out_channels, width, levels, norm, "convolution", nn.Tanh())
        initialise_normal(self)


class UNetSegmenter(UNet):
    """Segmenter: no norm, max pooling in the encoder.

    Shapes: (B, in_channels, *S) -> logits (B, classes, *S). Kaiming initialisation, as there is no norm to control the
    scale of activations.
    """

    def __init__(
        self, spatial_dims: int = 3, in_channels: int = 1, classes: int = 6, width: int = 16, levels: int = 3
    ) -> None:
        super().__init__(spatial_dims, in_channels, classes, width, levels, "none", "pool", nn.Identity())
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)


class CardiacNet(nn.Module):
    """Generators and segmenters of both domains in one module, with the symbols of the paper.

    ``g_a`` translates B to A, ``g_b`` A to B; ``s_a`` and ``s_b`` segment. ``forward`` segments one domain, as used at
    inference: image (B, C, *S) -> logits (B, classes, *S).

    Args:
        spatial_dims: 2 or 3.
        channels: image channels C.
        classes: number of regions plus background (paper: 5 + 1).
        width: width of the generators.
        segmenter_width: width of the segmenters; default: ``width``.
        levels: see `UNet` (paper: 3).
        domains: names of A and B.
        modality: domain that ``forward`` segments, default A.
    """

    def __init__(
        self,
        spatial_dims: int = 3,
        channels: int = 1,
        classes: int = 6,
        width: int = 16,
        segmenter_width: int | None = None,
        levels: int = 3,
        domains: Sequence[str] = ("ct", "mr"),
        modality: str | None = None,
    ) -> None:
        super().__init__()
        self.a, self.b = domains
        self.modality = self.a if modality is None else modality
        if self.modality not in domains:
            raise ValueError(f"Unknown domain '{modality}': choose {self.a} or {self.b}.")
        narrow = width if segmenter_width is None else segmenter_width
        self.g_b = UNetGenerator(spatial_dims, channels, channels, width, levels)
        self.g_a = UNetGenerator(spatial_dims, channels, channels, width, levels)
        self.s_a = UNetSegmenter(spatial_dims, channels, classes, narrow, levels)
        self.s_b = UNetSegmenter(spatial_dims, channels, classes, narrow, levels)

    def forward(self, image: Tensor) -> Tensor:
        return self.segment(image, self.modality)

    @torch.jit.export
    def segment(self, image: Tensor, domain: str) -> Tensor:
        """Segment an image (B, C, *S) of the given domain -> logits (B, classes, *S)."""
        if domain == self.a:
            return self.s_a(image)
        if domain == self.b:
            return self.s_b(image)
        raise ValueError(f"Unknown domain '{domain}': choose {self.a} or {self.b}.")

    @torch.jit.export
    def translate(self, image: Tensor, target: str) -> Tensor:
        """Translate an image (B, C, *S) of the other domain to the target domain (B, C, *S), in [-1, 1]."""
        if target == self.a:
            return self.g_a(image)
        if target == self.b:
            return self.g_b(image)
        raise ValueError(f"Unknown domain '{target}': choose {self.a} or {self.b}.")
