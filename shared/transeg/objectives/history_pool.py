"""A pool of earlier translations, shown to discriminators in place of some new ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from transeg.errors import ConfigError


class HistoryPool:
    """Keeps up to ``size`` images, so that a discriminator does not forget earlier translations.

    Shrivastava et al., "Learning from simulated and unsupervised images through adversarial training" (2017), in
    CycleGAN's form. Draws from torch's global generator on the CPU.

    Args:
        size: number of images kept; 0 returns every image unchanged.
    """

    def __init__(self, size: int = 50) -> None:
        if size < 0:
            raise ConfigError(f"HistoryPool: size must not be negative, got {size}.")
        self.size = size
        self.images: list[Tensor] = []

    def query(self, images: Tensor) -> Tensor:
        """For each of ``images`` (B, ...) the image itself or one from the pool, detached; same shape.

        Until the pool is full, each image is stored and returned. Then, with probability one half, a stored image is
        returned and replaced by the new one; otherwise the new one is returned and not stored.
        """
        images = images.detach()
        if self.size == 0:
            return images
        chosen = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image.clone())
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                image, self.images[place] = self.images[place].to(image.device), image.clone()
            chosen.append(image)
        return torch.stack(chosen)

    def state_dict(self) -> dict[str, Any]:
        """The stored images, in order."""
        return {"images": list(self.images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the images of a pool of any size; drops those that exceed the size of this one."""
        self.images = list(state["images"][: self.size])
