"""The generators of PathoGAN (Andermatt et al. 2018, sections 2.2 and 2.4).

Symbols as in the paper: A healthy, B pathological, Gamma and Delta encoders, E decoder, Z residual generators, l label
map, p inpainting.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.networks.blocks import CONV, ReflectConv, crop_to, make_norm
from transeg.networks.classifier import both, image_classifier
from transeg.networks.initialise import initialise_normal
from transeg.networks.resnet import ResidualBlock, ResNetGenerator, UpsampleBlock, downsampling, stem

LEVELS = 4  # stride-2 convolutions of the encoders: 240 pixels become 15


def smallest_map(image_size: Sequence[int]) -> list[int]:
    """Size of the smallest map, which is flattened to a vector: 15 x 15 for 240 x 240 pixels."""
    return [-(-n // 2**LEVELS) for n in image_size]


class VectorEncoder(nn.Module):
    """Image to mean and log variance of a code: Gamma_A and Delta_B.

    c7-w, d2w, d4w, d8w, d16w, C1-i, then l(z * i) tanh, l(2 z); i is the longest side of the smallest map.
    Shapes: (B, in_channels, *image_size) -> twice (B, code).
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, image_size: Sequence[int], width: int, code: int, norm: str
    ) -> None:
        super().__init__()
        layers = stem(spatial_dims, in_channels, width, norm, "elu")
        for level in range(LEVELS):
            layers += downsampling(spatial_dims, width * 2**level, norm, "elu")
        shape = smallest_map(image_size)
        side = max(shape)
        layers.append(CONV[spatial_dims](width * 2**LEVELS, side, 1))
        self.layers = nn.Sequential(*layers)
        self.hidden = nn.Linear(side * prod(shape), code * side)
        self.out = nn.Linear(code * side, 2 * code)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        out = self.out(torch.tanh(self.hidden(self.layers(image).flatten(1))))
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance


class VectorDecoder(nn.Module):
    """Codes to residual maps: E_A.

    l(i * i) ELU, l(i * i), c3-16w, u8w, u4w, C7-4w ELU, residual blocks of 4w, u2w, uw, C7-out.
    Shapes: (B, code) -> (B, out_channels, *image_size).
    """

    def __init__(
        self,
        spatial_dims: int,
        code: int,
        out_channels: int,
        image_size: Sequence[int],
        width: int,
        blocks: int,
        upsampling: str,
        norm: str,
    ) -> None:
        super().__init__()
        self.image_size = list(image_size)
        voxels = prod(smallest_map(image_size))
        self.map_shape = [-1, 1, *smallest_map(image_size)]
        self.vector = nn.Sequential(nn.Linear(code, voxels), nn.ELU(), nn.Linear(voxels, voxels))
        wide = 4 * width
        layers: list[nn.Module] = [
            ReflectConv(spatial_dims, 1, 4 * wide, 3),
            make_norm(norm, spatial_dims, 4 * wide, affine=False),
            nn.ELU(),
            UpsampleBlock(spatial_dims, 2 * wide, norm, upsampling, "elu"),
            UpsampleBlock(spatial_dims, wide, norm, upsampling, "elu"),
            ReflectConv(spatial_dims, wide, wide, 7),
            nn.ELU(),
        ]
        layers += [ResidualBlock(spatial_dims, wide, norm, "elu", last_norm=False) for _ in range(blocks)]
        layers += [UpsampleBlock(spatial_dims, w, norm, upsampling, "elu") for w in (2 * width, width)]
        layers.append(ReflectConv(spatial_dims, width, out_channels, 7))
        self.layers = nn.Sequential(*layers)

    def forward(self, code: Tensor) -> Tensor:
        x = self.vector(code).reshape(self.map_shape)
        return crop_to(self.layers(x), self.image_size)


class PathoGANNet(nn.Module):
    """Both residual generators in one module: Z_B of pathological images, and the autoencoder Z_A of healthy ones.

    ``forward`` serves inference: image (B, C, *S) of any size -> logits of the pathology (B, 1, *S). Z_A takes only
    images of ``image_size``, as its codes are vectors.

    Beyond the paper, a classifier of images may have a say: then what inference gives, a mask or a translation, comes
    from the label map times the probability that the image is pathological.

    Args:
        spatial_dims: 2 for slices, 3 for volumes.
        channels: image channels C.
        image_size: *S of the training images (paper: 240 x 240).
        width: channels at full resolution (paper: 64).
        blocks: residual blocks (paper: 9).
        code: length of each code (paper: 256).
        upsampling: "transposed" (paper) or "resize", see `UpsampleBlock`.
        norm: as in `make_norm`, without gain and bias.
        classifier_width: of the classifier, see `image_classifier`; 0: none (paper).

    Raises:
        ConfigError: ``image_size`` has the wrong number of dimensions or is too small.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        channels: int = 4,
        image_size: Sequence[int] = (240, 240),
        width: int = 64,
        blocks: int = 9,
        code: int = 256,
        upsampling: str = "transposed",
        norm: str = "instance",
        classifier_width: int = 0,
    ) -> None:
        super().__init__()
        if len(image_size) != spatial_dims:
            raise ConfigError(f"image_size {tuple(image_size)} must have {spatial_dims} dimensions")
        if min(smallest_map(image_size)) < 2:
            raise ConfigError(f"image_size {tuple(image_size)}: every side must exceed {2**LEVELS} voxels")
        self.code = code
        self.gamma = VectorEncoder(spatial_dims, channels, image_size, width, code, norm)
        self.delta = VectorEncoder(spatial_dims, channels, image_size, width, code, norm)
        out = channels + 1  # the label map and the inpainting
        self.decoder = VectorDecoder(spatial_dims, 2 * code, out, image_size, width, blocks, upsampling, norm)
        self.z_b = ResNetGenerator(
            spatial_dims,
            channels,
            out,
            width,
            blocks=blocks,
            upsampling=upsampling,
            norm=norm,
            activation="elu",
            last_norm=False,
            tanh=False,
        )
        for part in (self.gamma, self.delta, self.decoder):
            initialise_normal(part)
        self.classifier = image_classifier(spatial_dims, channels, classifier_width) if classifier_width else None

    @staticmethod
    def blend(logits: Tensor, inpainting: Tensor, image: Tensor) -> Tensor:
        """Translation: where l = sigmoid(logits) is 1, the inpainting replaces the image (section 2.2).

        Shapes: (B, 1, *S), (B, C, *S), (B, C, *S) -> (B, C, *S).
        """
        label = torch.sigmoid(logits)
        return label * inpainting + (1 - label) * image

    def residual_b(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Z_B: image (B, C, *S) -> logits r^0 of the label map (B, 1, *S) and inpainting p (B, C, *S) (eq. 6)."""
        r = self.z_b(image)
        return r[:, :1], torch.tanh(r[:, 1:])

    @torch.jit.export
    def residual_a(self, gamma: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """E_A: codes (B, code) of anatomy and pathology -> as `residual_b`, of ``image_size``."""
        r = self.decoder(torch.cat([gamma, delta], dim=1))
        return r[:, :1], torch.tanh(r[:, 1:])

    def forward(self, image: Tensor) -> Tensor:
        return self._gate(self.residual_b(image)[0], image)

    def _gate(self, logits: Tensor, image: Tensor) -> Tensor:
        if self.classifier is None:
            return logits
        shown = self.classifier(image)
        return both(logits, shown.reshape([-1] + [1] * (image.dim() - 1)))

    @torch.jit.export
    def translate(self, image: Tensor) -> Tensor:
        """Image (B, C, *S) -> its healthy counterpart (B, C, *S) in [-1, 1]."""
        logits, inpainting = self.residual_b(image)
        return self.blend(self._gate(logits, image), inpainting, image)

    @torch.jit.export
    def inpaint(self, image: Tensor) -> Tensor:
        """Image (B, C, *S) -> its healthy inpainting p_B everywhere (B, C, *S)."""
        return self.residual_b(image)[1]

    @torch.jit.export
    def synthesise(self, image: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        """Healthy images (B, C, *image_size) and pathology codes (B, code) from N(0, I) -> as `residual_b`."""
        mean, _ = self.gamma(image)
        return self.residual_a(mean, delta)
