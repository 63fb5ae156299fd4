"""Mutual information from a statistics network."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def mutual_information_bound(joint: Tensor, marginal: Tensor) -> Tensor:
    r"""Donsker-Varadhan lower bound of the mutual information in nats (MINE, Belghazi et al. 2018, eq. 5).

    $$\mathbb{E}_{p(c,u)}[T] - \log \mathbb{E}_{p(c)p(u)}[e^{T}]$$

    Args:
        joint: statistics (B,) of pairs that belong together.
        marginal: statistics (M,) of pairs that do not.
    """
    return joint.mean() - (torch.logsumexp(marginal, dim=0) - math.log(len(marginal)))
