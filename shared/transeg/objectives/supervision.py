"""The images of a batch that have a mask, and their loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from transeg.losses.precision import at_least_float32
from transeg.losses.segmentation import soft_dice


def supervised(batch: Mapping[str, Tensor], absence: bool) -> tuple[Tensor, Tensor]:
    """Rows of the images [presence; absence] that have a mask, labelled presence images first, and their masks.

    Args:
        batch: ``label`` (n, K, *S) and ``labelled`` (n,) bool of the presence images; ``absence`` (n, C, *S) if
            ``absence`` is True.
        absence: include the absence images, with empty masks.

    Returns:
        Rows (m,) and masks (m, K, *S).
    """
    y, rows = batch["label"], batch["labelled"].nonzero().flatten()
    if not absence:
        return rows, y[rows]
    n, more = len(y), len(batch["absence"])
    empty = y.new_zeros(more, *y.shape[1:])
    return torch.cat([rows, torch.arange(n, n + more, device=y.device)]), torch.cat([y[rows], empty])


def segmentation_loss(seg: Tensor | None, y: Tensor, cross_entropy: float = 0.0) -> Tensor:
    """Soft Dice loss (GenSeg eq. 7) and, not in the paper, a multiple of the binary cross-entropy; 0 without masks.

    Args:
        seg: logits (m, K, *S) of the images that have a mask, or None for m = 0.
        y: their masks (m, K, *S).
        cross_entropy: weight of the cross-entropy, the mean over voxels.
    """
    loss = soft_dice(y if seg is None else seg, y)  # also without masks: other processes may have some
    if seg is None or cross_entropy == 0:
        return loss
    logits = at_least_float32(seg)
    return loss + cross_entropy * F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype))
