"""Resampling of volumes in items that hold other values too, and its inverse in little memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import AFFINE_TOL
from monai.networks.utils import to_norm_affine
from monai.transforms import Spacingd
from monai.transforms.utils_pytorch_numpy_unification import allclose
from monai.utils import TraceKeys
from torch.nn.functional import grid_sample

SLAB = 2**20  # voxels at a time; each takes 56 bytes for its coordinates


class ResampleVolumed(Spacingd):
    """`Spacingd` restricted to its own keys, whose inverse needs little memory beyond its result.

    MONAI's takes any other key that starts with one of its own for a metadata dictionary and fails if it is not, such
    as "image_path" of MONAI Label. Its inverse holds the float64 coordinates of all voxels of the original grid.
    """

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Resample volumes (C, X, Y, Z)."""
        own = {key: data[key] for key in self.key_iterator(data)}
        return {**data, **super().__call__(own, lazy)}

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
        padding_mode: see `torch.nn.functional.grid_sample`.

    Returns:
        float32 (C, *size), computed in float64.
    """
    to_voxel = torch.from_numpy(np.linalg.solve(affine.numpy(), to_affine.numpy()))
    alike = allclose(affine, to_affine, atol=AFFINE_TOL) or allclose(to_voxel, np.eye(4), atol=AFFINE_TOL)
    if alike and list(volume.shape[1:]) == list(size):
        return volume.float()
    source = volume.double()[None]
    theta = to_norm_affine(to_voxel[None].to(source.device), volume.shape[1:], size, align_corners=False)
    theta = theta[:, [2, 1, 0]][..., [2, 1, 0, 3]]  # axes in the order of grid_sample
    along_x, along_y, along_z = (_centres(length, source) for length in size)
    result = torch.empty((len(volume), *size), device=volume.device)
    thickness = max(1, SLAB // (size[1] * size[2]))
    for first in range(0, size[0], thickness):
        places = along_x[first : first + thickness]
        points = torch.ones((len(places), size[1], size[2], 4), dtype=torch.float64, device=source.device)
        points[..., 0], points[..., 1], points[..., 2] = along_z, along_y[:, None], places[:, None, None]
        grid = points.view(1, -1, 4).bmm(theta.transpose(1, 2)).view(1, len(places), size[1], size[2], 3)
        result[:, first : first + len(places)] = grid_sample(
            source, grid, mode=mode, padding_mode=padding_mode, align_corners=False
        )[0]
    return result


def _centres(length: int, like: torch.Tensor) -> torch.Tensor:
    """Centres of the voxels along an axis that spans -1 to 1, rounded as in `torch.nn.functional.affine_grid`."""
    if length == 1:
        return torch.zeros(1, dtype=like.dtype, device=like.device)
    return torch.linspace(-1, 1, length, dtype=like.dtype, device=like.device) * (length - 1) / length
