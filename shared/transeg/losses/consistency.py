"""Consistency of two predictions of the same image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def prediction_consistency(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference of probabilities (mean teacher, Perone & Cohen-Adad 2018).

    Args:
        student: logits of any shape.
        teacher: logits of the same shape; a constant, no gradient flows into it.
    """
    return F.mse_loss(torch.sigmoid(student), torch.sigmoid(teacher.detach()))
