"""Resampling of volumes in items that hold other values too, and its inverse in little memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import AFFINE_TOL, compute_shape_offset, zoom_affine
from monai.transforms import Spacingd
from monai.transforms.utils_pytorch_numpy_unification import allclose
from monai.utils import TraceKeys

from transeg.errors import ConfigError
from transeg.transforms.grid import GRID_TOLERANCE, grid_distance, voxel_size

SLAB = 2**20  # voxels at a time


class ResampleVolumed(Spacingd):
    """`Spacingd` restricted to its own keys, whose inverse needs little memory beyond its result.

    MONAI's takes any other key that starts with one of its own for a metadata dictionary and fails if it is not, such
    as "image_path" of MONAI Label. Its inverse holds the float64 coordinates of all voxels of the original grid. And
    rounding of the affine, which differs between NIfTI and DICOM, decides where its new grid begins, see `new_grid`.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Resample volumes (C, X, Y, Z)."""
        item = dict(data)
        for key, mode, padding_mode in self.key_iterator(item, self.mode, self.padding_mode):
            volume = item[key]
            affine, size = new_grid(volume.affine.cpu().numpy(), volume.shape[1:], self.spacing_transform.pixdim)
            resampled = self.spacing_transform.sp_resample(
                volume, torch.from_numpy(affine), size, mode=mode, padding_mode=padding_mode
            )
            assert isinstance(resampled, MetaTensor)
            if mode == "nearest":
                to_voxel = np.linalg.solve(volume.affine.cpu().numpy(), affine)
                voxels = nearest(volume.as_tensor(), to_voxel, size)
                resampled = MetaTensor(voxels, meta=resampled.meta, applied_operations=resampled.applied_operations)
            item[key] = resampled
        return item

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample volumes (C, X, Y, Z) to the grid before."""
        item = dict(data)
        for key in self.key_iterator(item):
            volume = item[key]
            trace = self.spacing_transform.sp_resample.pop_transform(volume)
            info, size = trace[TraceKeys.EXTRA_INFO], [int(length) for length in trace[TraceKeys.ORIG_SIZE]]
            affine = torch.as_tensor(info["src_affine"], dtype=torch.float64).cpu()
            voxels = resample(volume.as_tensor(), volume.affine.cpu(), affine, size, info["mode"], info["padding_mode"])
            item[key] = MetaTensor(voxels, meta=volume.meta, applied_operations=volume.applied_operations)
            item[key].affine = affine
        return item


def new_grid(affine: np.ndarray, shape: Sequence[int], pixdim: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Grid of other voxel sizes over the same extent, as in `monai.transforms.Spacing` but for rounding.

    It begins at the first voxel if the axes are those of the world, and otherwise shares the centre. MONAI decides by
    whether a corner comes first along all axes to within 1e-8 of a voxel, which in an oblique scan is up to rounding.

    Args:
        affine: (4, 4).
        shape: (X, Y, Z).
        pixdim: voxel sizes (X, Y, Z) in mm; those below 0 are kept, as are those within 0.001 mm.

    Returns:
        Affine (4, 4) and shape (X, Y, Z).
    """
    sizes = voxel_size(affine)
    new = zoom_affine(affine, np.where(np.abs(sizes - pixdim) <= AFFINE_TOL, sizes, pixdim), diagonal=False)
    new_shape, _ = compute_shape_offset(shape, affine, new)
    largest = np.abs(affine[:3, :3]) == np.abs(affine[:3, :3]).max(axis=0)
    straight = affine.copy()
    straight[:3, :3][~largest] = 0
    if grid_distance(affine, straight, shape) <= GRID_TOLERANCE * sizes.min():
        new[:3, 3] = affine[:3, 3]
    else:
        half, new_half = np.asarray(shape) / 2.0, new_shape / 2.0
        new[:3, 3] = affine[:3, :3] @ half + affine[:3, 3] - new[:3, :3] @ new_half
    return new, new_shape.tolist()


def resample(
    volume: torch.Tensor,
    affine: torch.Tensor,
    to_affine: torch.Tensor,
    size: Sequence[int],
    mode: str = "bilinear",
    padding_mode: str = "border",
) -> torch.Tensor:
    """Resample a volume as `monai.transforms.SpatialResample` does, slab by slab.

    Args:
        volume: (C, X, Y, Z).
        affine: (4, 4), of the volume, float64.
        to_affine: (4, 4), of the result.
        size: (X, Y, Z) of the result.
        mode: "bilinear" or "nearest".
        padding_mode: "border".

    Returns:
        float32 (C, *size), computed in float64.

    Raises:
        ConfigError: another padding mode.
    """
    to_voxel = torch.from_numpy(np.linalg.solve(affine.numpy(), to_affine.numpy()))
    alike = allclose(affine, to_affine, atol=AFFINE_TOL) or allclose(to_voxel, np.eye(4), atol=AFFINE_TOL)
    if alike and list(volume.shape[1:]) == list(size):
        return volume.float()
    if mode == "nearest":
        return nearest(volume, to_voxel.numpy(), size).float()
    if padding_mode != "border":
        raise ConfigError(f"padding_mode is '{padding_mode}'; volumes are continued by their border.")
    return linear(volume, to_voxel.numpy(), size)


def linear(volume: torch.Tensor, to_voxel: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """Linear interpolation of a volume (C, X, Y, Z) on a grid of the same axes, one axis after the other.

    Args:
        volume: (C, X, Y, Z), continued by the voxels at its border.
        to_voxel: (4, 4), from voxels of the grid to those of the volume; diagonal but for a shift.
        size: (X, Y, Z) of the grid.

    Returns:
        float32 (C, *size), computed in float64.
    """
    lines = [
        _line(length, to_voxel[axis, axis], to_voxel[axis, 3], volume.shape[1 + axis], volume.device)
        for axis, length in enumerate(size)
    ]
    result = torch.empty((len(volume), *size), device=volume.device)
    plane = max(size[1], volume.shape[2]) * max(size[2], volume.shape[3])
    thickness = max(1, SLAB // plane)
    for first in range(0, size[0], thickness):
        part = _between(volume, 1, *(values[first : first + thickness] for values in lines[0]))
        for axis, line in enumerate(lines[1:], 2):
            part = _between(part, axis, *line)
        result[:, first : first + thickness] = part
    return result


def _line(
    length: int, step: float, start: float, voxels: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Along one axis: the voxels below and above each place, and how near the place is to the latter."""
    places = (np.arange(length) * step + start).clip(0, voxels - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, voxels - 1)
    below, above, share = (torch.from_numpy(values).to(device) for values in (below, above, places - below))
    return below, above, share


def _between(
    volume: torch.Tensor, axis: int, below: torch.Tensor, above: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    low, high = (volume.index_select(axis, index).double() for index in (below, above))
    return low.lerp_(high, share.view(-1, *[1] * (volume.dim() - 1 - axis)))


def nearest(volume: torch.Tensor, to_voxel: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """Nearest voxels of a volume (C, X, Y, Z) on a grid of the same axes; beyond its border, those at the border.

    Where two voxels are equally near, to a thousandth of a voxel, the even one is taken, as for exact numbers: the
    rounding of an affine, which differs between formats, does not decide.

    Args:
        volume: (C, X, Y, Z).
        to_voxel: (4, 4), from voxels of the grid to those of the volume; diagonal but for a shift.
        size: (X, Y, Z) of the grid.
    """
    for axis, length in reversed([*enumerate(size)]):  # the last, whose voxels are picked one by one, while it is small
        places = np.arange(length) * to_voxel[axis, axis] + to_voxel[axis, 3]
        index = np.rint(np.round(places, 3)).clip(0, volume.shape[1 + axis] - 1).astype(int)
        volume = volume.index_select(1 + axis, torch.from_numpy(index).to(volume.device))
    return volume
