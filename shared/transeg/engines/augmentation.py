"""Augmentation of a batch on its device, as the trainer's `prepare_batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from monai.transforms import Randomizable
from torch import Tensor

from transeg.engines.tree import to_device


class Warp(Protocol):
    """Draws sampling grids (count, *output size, dims) for images of a size, in the coordinates of `grid_sample`."""

    def __call__(self, count: int, size: Sequence[int], device: torch.device | str) -> Tensor: ...


class AugmentBatch(Randomizable):
    """Moves a batch to its device and augments it there: each image on its own, a label like its image.

    A trainer's `prepare_batch`. Workers of the loader only read, so no tensor of a GPU is in a forked process.

    Args:
        images: key of the images (B, C, *S) to that of their labels (B, 1, *S), or to None. All images are of one size;
            those that a batch does not have are left out.
        warp: where the images are sampled, linearly, and the labels, at the nearest voxel; None: nowhere else.
        steps: of the warped images alone, in order, such as noise.
        padding: what lies outside of an image: "border", "reflection" or "zeros".
    """

    def __init__(
        self,
        images: Mapping[str, str | None],
        warp: Warp | None = None,
        steps: Sequence[Callable[[Tensor], Tensor]] = (),
        padding: str = "border",
    ) -> None:
        self.images, self.warp, self.steps, self.padding = dict(images), warp, list(steps), padding

    def set_random_state(self, seed: int | None = None, state: np.random.RandomState | None = None) -> AugmentBatch:
        """Seed the warp and the steps, each with a seed of its own."""
        super().set_random_state(seed, state)
        for part in (self.warp, *self.steps):
            if isinstance(part, Randomizable):
                part.set_random_state(int(self.R.randint(2**31)))
        return self

    def __call__(
        self, batch: Mapping[str, Any], device: torch.device | str, non_blocking: bool = False, **_: Any
    ) -> dict[str, Any]:
        """The augmented batch on the device."""
        moved = to_device(batch, device, non_blocking)
        keys = [key for key in self.images if key in moved]
        counts = [len(moved[key]) for key in keys]
        images = torch.cat([moved[key] for key in keys])
        if self.warp is not None:
            grid = self.warp(len(images), images.shape[2:], device)
            images = self._sample(images, grid, "bilinear")
            for key, part in zip(keys, grid.split(counts), strict=True):
                label = self.images[key]
                if label is not None:
                    moved[label] = self._sample(moved[label], part, "nearest")
        for step in self.steps:
            images = to_device(step(images), device)  # MONAI's return tensors with metadata
        return moved | dict(zip(keys, images.split(counts), strict=True))

    def _sample(self, images: Tensor, grid: Tensor, mode: str) -> Tensor:
        return F.grid_sample(images, grid, mode, self.padding, align_corners=True)
