"""Adversarial losses on the logit maps of a discriminator, one map per scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# Not monai.losses.PatchAdversarialLoss: it puts tanh before the hinge and clamps the logarithms of BCE at -100.


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Hinge loss of a discriminator, GenSeg eq. 11 (Zhang et al. 2019).

    $$\mathbb{E}[\max(0, 1 - D(x))] + \mathbb{E}[\max(0, 1 + D(\hat x))]$$

    Args:
        real: one map of logits (B, 1, *s) per scale for real images.
        fake: the same for generated images, detached by the caller.

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


def least_squares_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Least-squares loss of a discriminator (Mao et al. 2017), as the CycleGAN code minimises it.

    $$\tfrac12 \mathbb{E}[(D(x) - 1)^2] + \tfrac12 \mathbb{E}[D(\hat x)^2]$$

    Arguments and result as in `hinge_discriminator`.
    """
    losses = [((r - 1).square().mean() + f.square().mean()) / 2 for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def least_squares_generator(fake: Sequence[Tensor]) -> Tensor:
    r"""Least-squares loss of a generator, $\mathbb{E}[(D(\hat x) - 1)^2]$; argument as in `hinge_generator`."""
    return torch.stack([(f - 1).square().mean() for f in fake]).mean()


def cross_entropy_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    r"""Logarithmic loss of a discriminator, Gadermayr et al. eq. 2, negated to be minimised.

    $$-\mathbb{E}[\log D(x)] - \mathbb{E}[\log(1 - D(\hat x))]$$ with the sigmoid inside.

    Arguments and result as in `hinge_discriminator`.
    """
    losses = [F.softplus(-r).mean() + F.softplus(f).mean() for r, f in zip(real, fake, strict=True)]
    return torch.stack(losses).mean()


def cross_entropy_generator(fake: Sequence[Tensor]) -> Tensor:
    r"""Non-saturating loss of a generator for eq. 2, $-\mathbb{E}[\log D(\hat x)]$."""
    return torch.stack([F.softplus(-f).mean() for f in fake]).mean()
