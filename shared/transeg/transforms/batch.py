"""Random transforms of whole batches (N, C, *S), in 2D and 3D: all images of a step are resampled at once.

Random numbers are drawn by NumPy on the CPU, so that they do not depend on the device. MONAI's random transforms take
one item at a time, and Kornia has neither spline deformations on a grid of nodes nor 3D ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import torch
from monai.transforms import (
    Compose,
    RandAdjustContrast,
    RandGaussianNoise,
    RandGaussianSmooth,
    Randomizable,
    RandScaleIntensity,
)
from monai.utils import ensure_tuple_rep
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation
from torch import Tensor


class RandomWarp(Randomizable):
    """Draws sampling grids: rotation, zoom, mirroring and translation about the centre, a spline deformation, a crop.

    A voxel at x, relative to the centre, takes the value at mirror(rotate(x / zoom) + translation) + spline(x).

    Args:
        rotate: largest angle in radians, in 3D of a turn about each axis.
        zoom: largest relative change of size, for all axes or each; an axis is scaled by 1 - zoom to 1 + zoom.
        mirror: axes that are mirrored, each with probability 0.5.
        translate: largest translation as a fraction of the image size.
        spline_std: standard deviation in voxels of the displacement of a node along each axis; between nodes, it is
            interpolated by a cubic spline.
        nodes: number of nodes along each axis.
        node_distance: as a fraction of the image size; default such that the outermost nodes lie on the border.
        varied: scale the displacements of each image by a number from U(0, 1).
        crop_size: size of a random part of the image, which is the output; default, and along an axis that is shorter,
            the whole image.
    """

    def __init__(
        self,
        rotate: float = 0.0,
        zoom: float | Sequence[float] = 0.0,
        mirror: Sequence[int] = (),
        translate: float = 0.0,
        spline_std: float = 0.0,
        nodes: int = 3,
        node_distance: float | None = None,
        varied: bool = False,
        crop_size: Sequence[int] | None = None,
    ) -> None:
        self.rotate, self.zoom, self.mirror, self.translate = rotate, zoom, tuple(mirror), translate
        self.spline_std, self.nodes, self.varied = spline_std, nodes, varied
        self.node_distance, self.crop_size = node_distance, crop_size

    def __call__(self, count: int, size: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Grids for `count` images of a size, in the coordinates of `grid_sample`: (count, *crop_size, dims)."""
        axes = [torch.arange(n, device=device) - (n - 1) / 2 for n in size]
        centred = torch.stack(torch.meshgrid(*axes, indexing="ij"))  # (dims, *size)
        matrix, offset = (torch.from_numpy(array).float().to(device) for array in self._affine(count, size))
        places = torch.einsum("nij,j...->ni...", matrix, centred) + offset.view(*offset.shape, *[1] * len(size))
        if self.spline_std:
            places = places + self._spline(count, size, device)
        half = torch.tensor([max(n - 1, 1) / 2 for n in size], device=device)
        return self._crop((places.movedim(1, -1) / half).flip(-1), size)

    def _affine(self, count: int, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Matrices (count, dims, dims) and offsets (count, dims) from the output to the image."""
        dims = len(size)
        zoom = np.array(ensure_tuple_rep(self.zoom, dims))
        scale = 1 / (1 + zoom * self.R.uniform(-1, 1, (count, dims)))
        angles = self.rotate * self.R.uniform(-1, 1, (count, 3))
        if dims == 2:
            angles[:, 1:] = 0
        # about the first axis of 3D, of which the other two are those of 2D
        turns = Rotation.from_euler("xyz", angles).as_matrix()[:, 3 - dims :, 3 - dims :]
        signs = np.ones((count, dims))
        for axis in self.mirror:
            signs[:, axis] = np.where(self.R.uniform(size=count) < 0.5, -1, 1)
        offset = self.translate * np.array(size) * self.R.uniform(-1, 1, (count, dims))
        return signs[:, :, None] * turns * scale[:, None, :], signs * offset

    def _spline(self, count: int, size: Sequence[int], device: torch.device | str) -> Tensor:
        """Displacements (count, dims, *size) in voxels."""
        dims = len(size)
        moved = self.R.normal(0, self.spline_std, (count, dims, *[self.nodes] * dims))
        if self.varied:
            moved *= self.R.uniform(size=(count, *[1] * (1 + dims)))
        field = torch.from_numpy(moved).float().to(device)
        for n in size:
            weights = torch.from_numpy(spline_weights(n, self.nodes, self.node_distance)).float().to(device)
            field = torch.tensordot(field, weights, dims=([2], [1]))  # the axis of nodes first, that of voxels last
        return field

    def _crop(self, grid: Tensor, size: Sequence[int]) -> Tensor:
        if self.crop_size is None:
            return grid
        lengths = np.minimum(np.array(size), np.array(self.crop_size))
        starts = self.R.randint(0, np.array(size) - lengths + 1, (len(grid), len(size)))
        parts = []
        for image, corner in zip(grid, starts.tolist(), strict=True):
            for axis, (start, length) in enumerate(zip(corner, lengths.tolist(), strict=True)):
                image = image.narrow(axis, start, length)
            parts.append(image)
        return torch.stack(parts)


@lru_cache
def spline_weights(size: int, nodes: int, distance: float | None = None) -> np.ndarray:
    """Weights (size, nodes) of the nodes at each voxel of a line: a cubic spline through the values at the nodes.

    Args:
        size: number of voxels.
        nodes: number of nodes, in the middle of the line.
        distance: of the nodes as a fraction of the size; default such that the outermost lie on the first and the last
            voxel.
    """
    voxels = (size - 1) / (nodes - 1) if distance is None else distance * size
    places = (np.arange(size) - (size - 1) / 2) / voxels + (nodes - 1) / 2
    return np.stack([map_coordinates(unit, places[None], order=3, mode="mirror") for unit in np.eye(nodes)], axis=1)


class RandomShift(Randomizable):
    """Adds a random number to the foreground of each image (N, C, *S): voxels that are not 0 in their channel.

    Args:
        largest: the number is from U(-largest, largest).
    """

    def __init__(self, largest: float) -> None:
        self.largest = largest

    def __call__(self, images: Tensor) -> Tensor:
        shift = torch.from_numpy(self.R.uniform(-self.largest, self.largest, len(images))).to(images)
        return images + (images != 0) * shift.view(-1, *[1] * (images.dim() - 1))


class EachImage(Randomizable):
    """Applies a transform of single images (C, *S), such as MONAI's, to each image of a batch (N, C, *S) in turn."""

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        self.transform = transform

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> EachImage:
        """Seed the transform."""
        super().set_random_state(seed, state)
        if isinstance(self.transform, Randomizable):
            self.transform.set_random_state(int(self.R.randint(2**31)))
        return self

    def __call__(self, images: Tensor) -> Tensor:
        return torch.stack([torch.as_tensor(self.transform(image)) for image in images])


def varied_intensity() -> EachImage:
    """Noise, blur, brightness and gamma, as strong and as often as in nnU-Net (Isensee et al. 2021)."""
    noise, blur = RandGaussianNoise(prob=0.15, std=0.1), RandGaussianSmooth(prob=0.2)
    brightness, gamma = RandScaleIntensity(prob=0.15, factors=0.25), RandAdjustContrast(prob=0.3, gamma=(0.7, 1.5))
    return EachImage(Compose([noise, blur, brightness, gamma]))
