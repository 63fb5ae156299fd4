r"""Adversarial losses on the maps of a multi-scale discriminator."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Hinge loss of a discriminator, GenSeg eq. 11 (Zhang et al. 2019).

    $$\mathbb{E}[\max(0, 1 - D(x))] + \mathbb{E}[\max(0, 1 + D(\hat x))]$$

    Args:
        real: one map of logits (B, 1, *s) per scale for real images.
        fake: likewise for generated images; detach these where they are made.

    Returns:
        Scalar: mean over each map, then over scales.
    """
    losses = [torch.relu(1 - r).mean() + torch.relu(1 + f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    r"""Hinge loss of a generator, GenSeg eq. 11: $-\mathbb{E}[D(\hat x)]$, mean over each map, then over scales.

    Args:
        fake: one map of logits (B, 1, *s) per scale.
    """
    return -torch.stack([f.mean() for f in fake]).mean()
