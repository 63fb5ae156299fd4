"""Losses over the batch of all processes.

The trainer averages gradients over processes, which is exact for means over batches of equal size. Any other loss (a
ratio of sums, the logarithm of a mean) pools its sums with these functions. Every process must call them equally often,
even with nothing to add.
"""

from __future__ import annotations

from typing import Any, cast

import ignite.distributed as idist
import torch
from torch import Tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return cast(Tensor, idist.all_reduce(x.clone()))  # which works in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # All processes compute the same from the sum, so its gradient needs no exchange. The one that
        # torch.distributed.nn.functional.all_reduce makes deadlocks if a process has no graph (no label in its share).
        return grad * idist.get_world_size()


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum tensors of one shape over all processes; the gradient is exact once averaged over processes.

    Every process must compute the same from the sum.
    """
    return x if idist.get_world_size() == 1 else _Sum.apply(x)


def logsumexp_over_ranks(x: Tensor) -> Tensor:
    """Log-sum-exp over the vectors (B,) of all processes, a scalar."""
    own = torch.logsumexp(x, dim=0)
    largest = cast(Tensor, idist.all_reduce(own.detach().clone(), op="MAX"))
    return largest + sum_over_ranks(torch.exp(own - largest)).log()


def roll_over_ranks(x: Tensor) -> Tensor:
    """Roll the batch (B, ...) of all processes by one and return this process's rows.

    B is the same on every process. Gradients do not reach other processes.
    """
    start = idist.get_rank() * len(x)
    batch = cast(Tensor, idist.all_gather(x.contiguous()))
    return batch.roll(1, dims=0)[start : start + len(x)]
