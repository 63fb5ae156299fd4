"""Segmentation loss of Zhang et al. 2018."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from transeg.losses.precision import at_least_float32
from transeg.losses.ranks import sum_over_ranks


def voxel_cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    r"""Cross-entropy of mutually exclusive classes, one of the two terms of Zhang et al. 2018, eq. 2.

    $$-\frac{1}{N} \sum_i \log s_i(y^i),\quad s = \mathrm{softmax}(logits)$$

    Pass labelled volumes only; no volume costs 0. Processes may have different numbers of them.

    Args:
        logits: (B, C + 1, *S), background first.
        label: (B, 1, *S), integers from 0 to C.

    Returns:
        Scalar, mean over all voxels of the batch of all processes.
    """
    loss = F.cross_entropy(at_least_float32(logits), label.squeeze(1).long(), reduction="sum")
    return sum_over_ranks(loss) / sum_over_ranks(loss.new_tensor(label.numel())).clamp(min=1)
