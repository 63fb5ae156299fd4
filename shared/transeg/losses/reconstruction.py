"""Reconstruction losses."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Mean absolute difference over all elements: GenSeg eqs. 8 (images), 9 (codes) and 10 (cycle).

    Both arguments get gradients: the target code of eq. 9 is not a constant.
    """
    return F.l1_loss(prediction, target)
