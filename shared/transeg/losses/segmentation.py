"""Segmentation losses."""

from __future__ import annotations

import torch
from torch import Tensor

from transeg.losses.precision import at_least_float32
from transeg.losses.ranks import sum_over_ranks


def soft_dice(logits: Tensor, reference: Tensor, smooth: float = 1.0) -> Tensor:
    r"""Soft Dice loss pooled over the batch, GenSeg eq. 7.

    $$1 - \frac{2 \sum y s + \epsilon}{\sum y + \sum s + \epsilon},\quad s = \mathrm{sigmoid}(logits)$$

    Pass labelled samples only; an empty batch costs 0. Unlike those of monai's `DiceLoss`, the sums are pooled over
    processes.

    Args:
        logits: (B, K, *S).
        reference: (B, K, *S), 0 or 1.
        smooth: added to numerator and denominator.

    Returns:
        Scalar: mean over the K classes, with sums over samples and space.
    """
    axes = [0, *range(2, logits.dim())]
    s = torch.sigmoid(at_least_float32(logits))
    y = reference.to(s.dtype)
    overlap, true, found = sum_over_ranks(torch.stack([(y * s).sum(axes), y.sum(axes), s.sum(axes)]))
    return (1 - (2 * overlap + smooth) / (true + found + smooth)).mean()
