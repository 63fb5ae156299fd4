"""Networks of GenSeg and its baselines.

Vorontsov et al., "Towards annotation-efficient segmentation via image-to-image translation", Table 1. A block is
norm -> ReLU -> (nearest x2) -> reflection padding -> convolution; in the encoder and the common decoder a short skip is
added around it. Widths double per level from ``width``; the paper uses width 16 and five levels for brain and liver,
width 32 and four levels for the 48-pixel task.
"""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.networks.blocks import CONV, Block, ReflectConv, UpsampleConv, crop_to, make_norm, upsample_nearest
from transeg.networks.initialise import initialise_kaiming


class EncoderBlock(Block):
    """Norm, ReLU, 3x3 convolution of stride 2, plus the decimated input through a 1x1 convolution.

    Shapes: (B, in_channels, *S) -> (B, out_channels, *ceil(S / 2)).
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, norm: str, affine: bool, dropout: float
    ) -> None:
        super().__init__()
        self.norm = make_norm(norm, spatial_dims, in_channels, affine)
        self.activation = nn.ReLU(inplace=norm != "none")  # nothing else uses the output of a norm
        self.dropout = nn.Dropout(dropout)
        self.conv = ReflectConv(spatial_dims, in_channels, out_channels, 3, stride=2)
        self.short_skip = CONV[spatial_dims](in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # decimated by pooling: slices cost more passes, and a 1x1 convolution of stride 2 crashes in torch 2.13 on CPUs
        skip = F.avg_pool2d(x, 1, 2) if x.dim() == 4 else F.avg_pool3d(x, 1, 2)
        return self.conv(self.dropout(self.activation(self.norm(x)))) + self.short_skip(skip)


class Encoder(nn.Module):
    """Image to code, with the raw input of every stride-2 block for the long skips.

    Shapes: image (B, in_channels, *S) -> code (B, width * 2^levels, *ceil(S / 2^levels)) and a list of skips, full
    resolution first, of width * 2^k channels.

    Args:
        code_channels: channels of the code; with several pathologies more than width * 2^levels.
        code_activation: end with ReLU as the paper does, which keeps the code non-negative although its unique
            part is matched to N(0, 1); False leaves the normalised code signed.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        width: int,
        levels: int,
        code_channels: int,
        norm: str = "instance",
        code_activation: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        affine = norm != "instance"
        channels = [width * 2**k for k in range(levels)] + [code_channels]
        self.stem = ReflectConv(spatial_dims, in_channels, width, 3)
        self.blocks = nn.ModuleList(
            EncoderBlock(spatial_dims, a, b, norm, affine, dropout) for a, b in itertools.pairwise(channels)
        )
        self.norm = make_norm(norm, spatial_dims, code_channels, affine)
        self.activation = nn.ReLU() if code_activation else nn.Identity()

    def forward(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.stem(image)
        skips: list[Tensor] = []
        for block in self.blocks:
            skips.append(x)
            x = block(x)
        return self.activation(self.norm(x)), skips


class LongSkip(nn.Module):
    """Join an encoder map, instance-normalised, to a decoder map of as many channels (section 3.3).

    Shapes: (B, channels, *S) twice -> (B, out_channels, *S).

    Args:
        kind: "compress" (1x1 convolution to one map, then concatenation), "concat", "sum" or "none".

    Raises:
        ConfigError: another kind.
    """

    def __init__(self, spatial_dims: int, channels: int, kind: str) -> None:
        super().__init__()
        if kind not in ("compress", "concat", "sum", "none"):
            raise ConfigError(f"Unknown long skip '{kind}': choose compress, concat, sum or none.")
        self.kind = kind
        self.norm = make_norm("instance", spatial_dims, channels, affine=False)
        self.compress = CONV[spatial_dims](channels, 1, 1) if kind == "compress" else nn.Identity()
        self.out_channels = channels + {"compress": 1, "concat": channels, "sum": 0, "none": 0}[kind]

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        if self.kind == "none":
            return x
        skip = self.norm(skip)
        if self.kind == "sum":
            return x + skip
        return torch.cat([x, self.compress(skip)], dim=1)


class TaskNorm(nn.Module):
    """Norm and ReLU; with ``segmentation`` the norm has a second set of parameters for that mode (section 3.4)."""

    def __init__(self, spatial_dims: int, channels: int, norm: str, segmentation: bool) -> None:
        super().__init__()
        self.translation = make_norm(norm, spatial_dims, channels)
        self.segmentation = make_norm(norm, spatial_dims, channels) if segmentation else nn.Identity()
        self.activation = nn.ReLU(inplace=norm != "none")

    def forward(self, x: Tensor, segment: bool) -> Tensor:
        return self.activation(self.segmentation(x) if segment else self.translation(x))


class DecoderBlock(Block):
    """Norm, ReLU, x2 upsampling, convolution; with ``short_skip`` the upsampled input is added; then the long skip.

    Shapes: (B, in_channels, *s), encoder map (B, out_channels, *S) -> (B, join.out_channels, *S).
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        norm: str,
        short_skip: bool,
        long_skip: str,
        segmentation: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.norm = TaskNorm(spatial_dims, in_channels, norm, segmentation)
        self.dropout = nn.Dropout(dropout)
        self.conv = UpsampleConv(spatial_dims, in_channels, out_channels, kernel_size)
        self.has_short_skip = short_skip
        self.short_skip = CONV[spatial_dims](in_channels, out_channels, 1) if short_skip else nn.Identity()
        self.join = LongSkip(spatial_dims, out_channels, long_skip)

    def forward(self, x: Tensor, skip: Tensor, segment: bool) -> Tensor:
        out = self.conv(self.dropout(self.norm(x, segment)))
        if self.has_short_skip:  # a 1x1 convolution commutes with nearest upsampling, so it runs on the small map
            out = out + upsample_nearest(self.short_skip(x))
        return self.join(crop_to(out, list(skip.shape[2:])), skip)


class Decoder(nn.Module):
    """Code to image with long skips; with ``segmentation`` a second mode reuses all convolutions but the last.

    Shapes: code (B, in_channels, *s), skips as from `Encoder` -> (B, out_channels, *S) without final activation;
    ``segment=True`` -> logits (B, 1, *S). Odd sizes are cropped after each upsampling.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        width: int,
        levels: int,
        kernel_size: int = 3,
        norm: str = "layer",
        short_skip: bool = True,
        long_skip: str = "compress",
        segmentation: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [width * 2**k for k in reversed(range(levels))]
        self.stem = UpsampleConv(spatial_dims, in_channels, widths[0], kernel_size)
        self.join = LongSkip(spatial_dims, widths[0], long_skip)
        channels = self.join.out_channels
        blocks = []
        for w in widths[1:]:
            blocks.append(
                DecoderBlock(spatial_dims, channels, w, kernel_size, norm, short_skip, long_skip, segmentation, dropout)
            )
            channels = blocks[-1].join.out_channels
        self.blocks = nn.ModuleList(blocks)
        self.refine_norm = TaskNorm(spatial_dims, channels, norm, segmentation)
        self.refine = ReflectConv(spatial_dims, channels, channels, kernel_size)
        self.out_norm = TaskNorm(spatial_dims, channels, norm, segmentation)
        self.out = ReflectConv(spatial_dims, channels, out_channels, 7)
        self.classifier: nn.Module = nn.Identity()
        if segmentation:
            self.classifier = nn.Sequential(
                ReflectConv(spatial_dims, channels, out_channels, 7), CONV[spatial_dims](out_channels, 1, 1)
            )

    def forward(self, code: Tensor, skips: list[Tensor], segment: bool = False) -> Tensor:
        deepest = skips[len(skips) - 1]
        x = self.join(crop_to(self.stem(code), list(deepest.shape[2:])), deepest)
        for index, block in enumerate(self.blocks):
            x = block(x, skips[len(skips) - 2 - index], segment)
        x = self.out_norm(self.refine(self.refine_norm(x, segment)), segment)
        return self.classifier(x) if segment else self.out(x)


def _begin_with(prior: float | None, head: nn.Module) -> None:
    """Let the last convolution of a head, whose weights average out, begin with the logit of a probability."""
    if prior is not None:
        convolutions = [module for module in head.modules() if isinstance(module, nn.Conv2d | nn.Conv3d)]
        nn.init.constant_(cast(Tensor, convolutions[-1].bias), math.log(prior / (1 - prior)))


class GenSegNet(nn.Module):
    """Encoder, common decoder, and per pathology a residual decoder that also segments (Figs. 2 and 3, eqs. 1-5).

    The code consists of a common part and a unique part per pathology: of width * 2^levels channels three quarters
    are common and one quarter is unique (384 + 128 in the paper); each further pathology adds a quarter.

    Args:
        spatial_dims: 2 for slices, 3 for whole volumes.
        in_channels: image channels.
        out_channels: pathologies, each with a unique code, residual decoder and segmentation map of its own.
        width: channels at full resolution; 16 in the paper for brain and liver.
        levels: number of stride-2 blocks; every input size must exceed 2^levels.
        long_skip: "compress", "concat", "sum" or "none".
        norm_encoder, norm_decoder: "instance", "layer" or "batch" (ablation of Table 3a).
        separate_decoder: segment with a 3x3 decoder of its own instead of the residual decoder ("sep dec").
        code_activation: False keeps the code signed, see `Encoder`.
        prior: probability that the segmentation begins with everywhere (Lin et al. 2017, "Focal loss"), of the order of
            a lesion's share of the image. Default: what the initialisation gives, about 0.5, where the Dice loss hardly
            depends on it and the segmentation can drift to a constant map.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 4,
        out_channels: int = 1,
        width: int = 16,
        levels: int = 5,
        norm_encoder: str = "instance",
        norm_decoder: str = "layer",
        long_skip: str = "compress",
        separate_decoder: bool = False,
        code_activation: bool = True,
        prior: float | None = None,
    ) -> None:
        super().__init__()
        self.unique_channels = width * 2**levels // 4
        self.common_channels = 3 * self.unique_channels
        self.pathologies = out_channels
        code = self.common_channels + self.unique_channels * out_channels
        own = self.common_channels + self.unique_channels
        decoder = partial(Decoder, spatial_dims, width=width, levels=levels, norm=norm_decoder, long_skip=long_skip)
        self.encoder = Encoder(spatial_dims, in_channels, width, levels, code, norm_encoder, code_activation)
        self.common = decoder(self.common_channels, in_channels)
        residual = partial(decoder, own, in_channels, kernel_size=5, short_skip=False)
        self.residuals = nn.ModuleList(residual(segmentation=not separate_decoder) for _ in range(out_channels))
        self.segmenters = nn.ModuleList(decoder(own, 1) for _ in range(out_channels if separate_decoder else 0))
        initialise_kaiming(self)
        for segmenter in self.segmenters if separate_decoder else self.residuals:
            head = segmenter.out if separate_decoder else segmenter.classifier
            _begin_with(prior, cast(nn.Module, head))

    @torch.jit.export
    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Image (B, C, *S) -> code (B, common + unique * pathologies, *s) and the long skips."""
        return self.encoder(image)

    @torch.jit.export
    def decode_common(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """Code, of which the common part is used -> image of the absence domain in [-1, 1] (eq. 2)."""
        return torch.tanh(self.common(code[:, : self.common_channels], skips))

    def own_code(self, code: Tensor, pathology: int) -> Tensor:
        """Common and unique part [c; u_k] of one pathology."""
        if self.pathologies == 1:
            return code
        start = self.common_channels + pathology * self.unique_channels
        return torch.cat([code[:, : self.common_channels], code[:, start : start + self.unique_channels]], dim=1)

    @torch.jit.export
    def decode_residual(self, code: Tensor, skips: list[Tensor], pathology: int = 0) -> Tensor:
        """Code -> residual change in [-1, 1] that adds the pathology (eq. 3)."""
        out = torch.empty(0)
        for index, residual in enumerate(self.residuals):
            if index == pathology:
                out = residual(self.own_code(code, pathology), skips)
        return torch.tanh(out)

    @torch.jit.export
    def segment(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """Code -> segmentation logits (B, pathologies, *S) (eq. 4)."""
        logits: list[Tensor] = []
        for index, segmenter in enumerate(self.segmenters):
            logits.append(segmenter(self.own_code(code, index), skips))
        if len(logits) == 0:
            for index, residual in enumerate(self.residuals):
                logits.append(residual(self.own_code(code, index), skips, True))
        return torch.cat(logits, dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, *S) -> segmentation logits (B, pathologies, *S)."""
        code, skips = self.encoder(image)
        return self.segment(code, skips)

    @torch.jit.export
    def translate(self, image: Tensor) -> Tensor:
        """Image (B, C, *S) -> the same anatomy without pathology (B, C, *S), in [-1, 1] (x_PA of eq. 2)."""
        code, skips = self.encoder(image)
        return self.decode_common(code, skips)


class BaselineNet(nn.Module):
    """Encoder with a 3x3 segmentation decoder and optionally a reconstruction decoder (section 4.1).

    For the "segmentation only" and mean-teacher baselines and, with ``reconstruct``, the autoencoding baseline. The
    reconstruction decoder has no long skips, which would make its task trivial.

    Args:
        norm: decoder norm; "none" with ``dropout`` is one of the mean-teacher variants.
        dropout: probability after each ReLU of encoder and decoder blocks.
        Others as in `GenSegNet`.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 4,
        out_channels: int = 1,
        width: int = 16,
        levels: int = 5,
        norm_encoder: str = "instance",
        norm_decoder: str = "layer",
        long_skip: str = "compress",
        reconstruct: bool = False,
        dropout: float = 0.0,
        prior: float | None = None,
    ) -> None:
        super().__init__()
        code = width * 2**levels
        decoder = partial(Decoder, spatial_dims, code, width=width, levels=levels, norm=norm_decoder, dropout=dropout)
        self.encoder = Encoder(spatial_dims, in_channels, width, levels, code, norm_encoder, dropout=dropout)
        self.segmenter = decoder(out_channels, long_skip=long_skip)
        self.reconstructor: nn.Module = nn.Identity()
        if reconstruct:
            self.reconstructor = decoder(in_channels, long_skip="none")
        initialise_kaiming(self)
        _begin_with(prior, self.segmenter.out)

    @torch.jit.export
    def encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Image (B, C, *S) -> code and the long skips."""
        return self.encoder(image)

    @torch.jit.export
    def segment(self, code: Tensor, skips: list[Tensor]) -> Tensor:
        """Code -> segmentation logits (B, out_channels, *S)."""
        return self.segmenter(code, skips)

    def forward(self, image: Tensor) -> Tensor:
        """Image (B, C, *S) -> segmentation logits (B, out_channels, *S)."""
        code, skips = self.encoder(image)
        return self.segmenter(code, skips)


class MutualInformationNet(nn.Module):
    """The statistic T of MINE (Belghazi et al. 2018): scores whether two codes come from the same image.

    Shapes: common (B, common_channels, *s), unique (B, unique_channels, *s) -> (B,).
    """

    def __init__(
        self, spatial_dims: int = 2, common_channels: int = 384, unique_channels: int = 128, width: int = 128
    ) -> None:
        super().__init__()
        conv = CONV[spatial_dims]
        self.common = conv(common_channels, width, 1)
        self.unique = conv(unique_channels, width, 1)
        self.head = nn.Sequential(nn.ReLU(), conv(width, width, 1), nn.ReLU(), conv(width, 1, 1))

    def forward(self, common: Tensor, unique: Tensor) -> Tensor:
        return self.head(self.common(common) + self.unique(unique)).flatten(1).mean(1)
