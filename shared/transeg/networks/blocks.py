"""Building blocks: reflection padding, norms and activations by name, upsampling convolutions at low resolution."""

# without postponed annotations: TorchScript evaluates that of `UpsampleConv.taps`

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transeg.errors import ConfigError

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class Block(nn.Module):
    """Part of a network whose activations `add_checkpointing` recomputes in the backward pass."""


def make_norm(name: str, spatial_dims: int, channels: int, affine: bool = True) -> nn.Module:
    """Norm layer by name.

    Args:
        name: "instance", "layer" (statistics over channels and space of each sample, gain and bias per channel),
            "batch" or "none".
        spatial_dims: 2 or 3.
        channels: number of channels.
        affine: learn a gain and a bias per channel.

    Raises:
        ConfigError: unknown name.
    """
    if name == "instance":
        # instance norm as one group per channel: the same values, and channels-last memory is kept
        return nn.GroupNorm(channels, channels, affine=affine)
    if name == "layer":
        return nn.GroupNorm(1, channels, affine=affine)
    if name == "batch":
        return _BATCH[spatial_dims](channels, affine=affine)
    if name == "none":
        return nn.Identity()
    raise ConfigError(f"Unknown norm '{name}': choose instance, layer, batch or none.")


def make_activation(name: str) -> nn.Module:
    """Activation by name, "relu" or "elu".

    Raises:
        ConfigError: unknown name.
    """
    if name == "relu":
        return nn.ReLU()
    if name == "elu":
        return nn.ELU()
    raise ConfigError(f"Unknown activation '{name}': choose relu or elu.")


class ReflectConv(nn.Module):
    """Convolution with reflection padding.

    Shapes: (B, in_channels, *S) -> (B, out_channels, *S'), S' = S for stride 1 and an odd kernel.
    Every spatial size must exceed ``padding``.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        self.conv = CONV[spatial_dims](in_channels, out_channels, kernel_size, stride)
        self.pad = [kernel_size // 2 if padding is None else padding] * (2 * spatial_dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pad, mode="reflect"))


def crop_to(x: Tensor, size: list[int]) -> Tensor:
    """First ``size`` voxels along every spatial axis of x (B, C, *S)."""
    for axis, n in enumerate(size):
        if x.size(axis + 2) != n:  # the backward pass of a crop copies the map
            x = x.narrow(axis + 2, 0, n)
    return x


def upsample_nearest(x: Tensor) -> Tensor:
    """Nearest-neighbour x2 along every spatial axis of x (B, C, *S)."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def _shuffle(x: Tensor, channels: int) -> Tensor:
    """Interleave the 2^d phases of x (B, channels * 2^d, *S) into (B, channels, *2S)."""
    if x.dim() == 4:
        return F.pixel_shuffle(x, 2)
    b, _, d, h, w = x.shape
    x = x.reshape(b, channels, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return x.reshape(b, channels, 2 * d, 2 * h, 2 * w)


class UpsampleConv(nn.Module):
    """Nearest x2 upsampling followed by a convolution (kernel 3 or 5), computed at low resolution.

    In each of the 2^d output phases several kernel taps fall on the same low-resolution voxel. One small convolution
    with their sums, 2^d times the outputs and a shuffle give the same values with 2.3 (3x3) or 2.8 (5x5) times fewer
    operations in 2D, 3.4 or 4.6 in 3D. For kernel 5 the outermost ring of the reflected border cannot be expressed at
    low resolution; its difference is added by convolutions over the faces alone. On small batches of small maps
    summing the taps costs more than it saves, so these are upsampled first.

    Shapes: (B, in_channels, *S) -> (B, out_channels, *2S).

    Args:
        border: "reflect" or "zero", around the upsampled map.

    Raises:
        ConfigError: another kernel size or border.
    """

    taps: Tensor

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, border: str = "reflect"
    ) -> None:
        super().__init__()
        if kernel_size not in (3, 5):
            raise ConfigError(f"UpsampleConv supports kernel sizes 3 and 5, got {kernel_size}.")
        if border not in ("reflect", "zero"):
            raise ConfigError(f"Unknown border '{border}': choose reflect or zero.")
        self.border = "reflect" if border == "reflect" else "constant"  # as F.pad names them
        self.conv = CONV[spatial_dims](in_channels, out_channels, kernel_size)
        self.out_channels = out_channels
        self.kernel_size = kernel_size
        self.low_resolution = True
        # line[phase, low-resolution offset, tap]: which kernel taps fall on which low-resolution voxel along one axis
        if kernel_size == 5:
            line = [
                [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]],
                [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]],
            ]
        else:  # two offsets suffice if the odd phase comes first and one voxel is cropped afterwards
            line = [[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]]
        self.offsets = len(line[0])
        axis = torch.tensor(line, dtype=torch.float32)
        axes = [axis] * spatial_dims
        equation = "apx,bqy->xyabpq" if spatial_dims == 2 else "apx,bqy,crz->xyzabcpqr"
        taps = torch.einsum(equation, *axes).reshape(kernel_size**spatial_dims, 2**spatial_dims, -1)
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        voxels = x.numel() // x.size(1)
        if self.low_resolution and voxels >= 768 and min(x.shape[2:]) > 1:
            return self._at_low_resolution(x)
        pad = [self.kernel_size // 2] * (2 * (x.dim() - 2))
        return self.conv(F.pad(upsample_nearest(x), pad, mode=self.border))

    def _at_low_resolution(self, x: Tensor) -> Tensor:
        weight, bias = self.conv.weight, self.conv.bias
        dims = x.dim() - 2
        padded = F.pad(x, [1] * (2 * dims), mode="replicate" if self.border == "reflect" else "constant")
        k, phases = self.taps.size(0), self.taps.size(1)
        kernel = weight.flatten(2) @ self.taps.reshape(k, -1).to(weight.dtype)
        kernel = kernel.reshape(weight.size(0), weight.size(1), phases, -1).transpose(1, 2)
        kernel = kernel.reshape([weight.size(0) * phases, weight.size(1)] + [self.offsets] * dims)
        repeated = bias.repeat_interleave(phases) if bias is not None else None
        out = F.conv2d(padded, kernel, repeated) if dims == 2 else F.conv3d(padded, kernel, repeated)
        out = _shuffle(out, self.out_channels)
        if self.kernel_size == 3:
            return F.pad(out, [-1] * (2 * dims))  # a crop with one copy in the backward pass, not one per axis
        if self.border == "constant":
            return out
        for axis in range(2, 2 + dims):
            first, last = self._faces(x, weight, axis)
            out = _add_faces(out, first, last, axis)
        return out

    def _faces(self, x: Tensor, weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Differences that reflecting instead of replicating the outermost border layers along ``axis`` makes.

        Edges shared with earlier axes are left out, as the layers of those contain them.
        """
        dims, end = x.dim() - 2, x.size(axis) - 1
        scale = [1.0 if a == axis else 2.0 for a in range(2, 2 + dims)]
        wide: list[int] = []
        narrow: list[int] = []
        for a in range(1 + dims, 1, -1):  # F.pad counts from the last axis
            wide += [0, 0] if a == axis else [2, 2]
            narrow += [0, 0] if a == axis else [1, 1]
        reflected = torch.cat([x.narrow(axis, 1, 1), x.narrow(axis, end - 1, 1)], dim=1)
        replicated = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, end, 1)], dim=1)
        true = F.pad(F.interpolate(reflected, scale_factor=scale, mode="nearest"), wide, mode="reflect")
        low = F.interpolate(F.pad(replicated, narrow, mode="replicate"), scale_factor=scale, mode="nearest")
        difference = true - low
        for a in range(2, axis):
            edge = [0, 0] * (1 + dims - a) + [1, 1]
            difference = F.pad(difference.narrow(a, 1, difference.size(a) - 2), edge)
        ends = torch.cat([weight.narrow(axis, 0, 1), weight.narrow(axis, 4, 1)])
        faces = F.conv2d(difference, ends, groups=2) if dims == 2 else F.conv3d(difference, ends, groups=2)
        return faces.narrow(1, 0, self.out_channels), faces.narrow(1, self.out_channels, self.out_channels)


def _add_faces(x: Tensor, first: Tensor, last: Tensor, axis: int) -> Tensor:
    """Add to the first and the last layer of x (B, C, *S) along an axis, in place."""
    return _add_in_place(x, first, last, axis) if torch.jit.is_scripting() else _apply_faces(x, first, last, axis)


def _add_in_place(x: Tensor, first: Tensor, last: Tensor, axis: int) -> Tensor:
    x.narrow(axis, 0, 1).add_(first)
    x.narrow(axis, x.size(axis) - 1, 1).add_(last)
    return x


@torch.jit.unused
def _apply_faces(x: Tensor, first: Tensor, last: Tensor, axis: int) -> Tensor:
    return cast(Tensor, _AddFaces.apply(x, first, last, axis))


class _AddFaces(torch.autograd.Function):
    """Of an addition to a part in place, autograd would copy the gradient of the whole."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, first: Tensor, last: Tensor, axis: int) -> Tensor:
        ctx.axis = axis
        ctx.mark_dirty(x)
        return _add_in_place(x, first, last, axis)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        axis, end = ctx.axis, gradient.size(ctx.axis) - 1
        return gradient, gradient.narrow(axis, 0, 1), gradient.narrow(axis, end, 1), None
