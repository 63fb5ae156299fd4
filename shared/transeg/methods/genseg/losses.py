"""Losses of the mean-teacher baseline and of the estimator of mutual information."""

from __future__ import annotations

import math

import ignite.distributed as idist
import torch
import torch.nn.functional as F
from torch import Tensor

from transeg.losses.ranks import logsumexp_over_ranks


def prediction_consistency(student: Tensor, teacher: Tensor) -> Tensor:
    r"""Mean squared difference of probabilities (mean teacher, Perone & Cohen-Adad 2018).

    Args:
        student: logits of any shape.
        teacher: logits of the same shape; treated as a constant.
    """
    return F.mse_loss(torch.sigmoid(student), torch.sigmoid(teacher.detach()))


def mutual_information_bound(joint: Tensor, marginal: Tensor) -> Tensor:
    r"""Donsker-Varadhan lower bound of the mutual information in nats (MINE, Belghazi et al. 2018, eq. 5).

    $$\mathbb{E}_{p(c,u)}[T] - \log \mathbb{E}_{p(c)p(u)}[e^{T}]$$

    Means are pooled over processes, which hold equally many statistics each.

    Args:
        joint: statistics T (B,) of codes (c, u) of the same image.
        marginal: statistics T (M,) of codes of different images.
    """
    return joint.mean() - (logsumexp_over_ranks(marginal) - math.log(len(marginal) * idist.get_world_size()))
