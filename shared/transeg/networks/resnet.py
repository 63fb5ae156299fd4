"""The generator of CycleGAN (Zhu et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.networks.blocks import CONV, Block, ReflectConv, UpsampleConv, crop_to, make_activation, make_norm
from transeg.networks.initialise import initialise_normal

_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class ResidualBlock(Block):
    """Two 3x3 convolutions around an identity: (B, channels, *S) -> the same.

    A norm follows each convolution; without ``last_norm`` only the first (PathoGAN).
    """

    def __init__(
        self, spatial_dims: int, channels: int, norm: str, activation: str = "relu", last_norm: bool = True
    ) -> None:
        super().__init__()
        layers = [
            ReflectConv(spatial_dims, channels, channels, 3),
            make_norm(norm, spatial_dims, channels, affine=False),
            make_activation(activation),
            ReflectConv(spatial_dims, channels, channels, 3),
        ]
        if last_norm:
            layers.append(make_norm(norm, spatial_dims, channels, affine=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class UpsampleBlock(nn.Module):
    """x2 upsampling to half the channels: (B, 2 * channels, *S) -> (B, channels, *2S).

    "transposed" is the published variant. "resize" is nearest-neighbour upsampling and a convolution, which cannot
    cause checkerboard artefacts.

    Raises:
        ConfigError: another ``upsampling``.
    """

    def __init__(self, spatial_dims: int, channels: int, norm: str, upsampling: str, activation: str = "relu") -> None:
        super().__init__()
        if upsampling == "transposed":
            make = _TRANSPOSED[spatial_dims]
            conv: nn.Module = make(2 * channels, channels, 3, stride=2, padding=1, output_padding=1)
        elif upsampling == "resize":
            conv = UpsampleConv(spatial_dims, 2 * channels, channels, 3)
        else:
            raise ConfigError(f"Unknown upsampling '{upsampling}': choose transposed or resize.")
        norm_layer = make_norm(norm, spatial_dims, channels, affine=False)
        self.layers = nn.Sequential(conv, norm_layer, make_activation(activation))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def stem(spatial_dims: int, in_channels: int, width: int, norm: str, activation: str = "relu") -> list[nn.Module]:
    """7x7 convolution to ``width`` channels, norm, activation."""
    conv = ReflectConv(spatial_dims, in_channels, width, 7)
    return [conv, make_norm(norm, spatial_dims, width, affine=False), make_activation(activation)]


def downsampling(spatial_dims: int, channels: int, norm: str, activation: str = "relu") -> list[nn.Module]:
    """3x3 convolution of stride 2 to twice the channels, norm, activation."""
    conv = CONV[spatial_dims](channels, 2 * channels, 3, stride=2, padding=1)
    return [conv, make_norm(norm, spatial_dims, 2 * channels, affine=False), make_activation(activation)]


class ResNetGenerator(nn.Module):
    """Image to image: two stride-2 convolutions, residual blocks, two upsamplings, tanh.

    Shapes: (B, in_channels, *S) -> (B, out_channels, *S) in [-1, 1], any S above 3; the output is cropped where
    2^levels does not divide S.

    Args:
        width: channels at full resolution (64 in the papers), doubled by each of the ``levels``.
        blocks: residual blocks at the lowest resolution (9 for images of 256 pixels).
        upsampling: "transposed" or "resize", see `UpsampleBlock`.
        norm: as in `make_norm`, without gain and bias.
        activation: as in `make_activation`.
        last_norm: see `ResidualBlock`.
        tanh: False omits the final activation.
        residual: the output is what to add to the image, whose sum is limited to [-1, 1]; what need not change stays
            as sharp as it is. The channels of image and output are then the same.

    Raises:
        ConfigError: ``residual`` with other channels, or an unknown ``upsampling``.
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        width: int = 64,
        levels: int = 2,
        blocks: int = 9,
        upsampling: str = "transposed",
        norm: str = "instance",
        activation: str = "relu",
        last_norm: bool = True,
        tanh: bool = True,
        residual: bool = False,
    ) -> None:
        super().__init__()
        if residual and in_channels != out_channels:
            raise ConfigError(f"residual: {in_channels} channels cannot be added to {out_channels}.")
        self.residual = residual
        layers = stem(spatial_dims, in_channels, width, norm, activation)
        for level in range(levels):
            layers += downsampling(spatial_dims, width * 2**level, norm, activation)
        wide = width * 2**levels
        layers += [ResidualBlock(spatial_dims, wide, norm, activation, last_norm) for _ in range(blocks)]
        for level in reversed(range(levels)):
            layers.append(UpsampleBlock(spatial_dims, width * 2**level, norm, upsampling, activation))
        layers.append(ReflectConv(spatial_dims, width, out_channels, 7))
        if tanh:
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers)
        initialise_normal(self)

    def forward(self, image: Tensor) -> Tensor:
        output = crop_to(self.layers(image), list(image.shape[2:]))
        return (image + output).clamp(-1, 1) if self.residual else output
