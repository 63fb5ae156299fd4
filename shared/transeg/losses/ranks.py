"""Losses over the batch of all processes.

The trainer averages gradients over processes. That is exact for a mean over batches of equal size; a loss that is no
such mean (a ratio of sums, a logarithm of a mean) pools its sums here. Every process must call these equally often,
also with nothing to add.
"""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from torch import Tensor


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return idist.all_reduce(x.clone())  # which works in place

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # What follows the sum is the same everywhere, and so is its gradient: no exchange, which a process whose own
        # part has no graph (no label in its share) would leave the others waiting for.
        return grad * idist.get_world_size()


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum of the tensors of all processes, of the same shape; its gradient is exact once averaged over processes.

    What is computed from the sum must be the same on every process.
    """
    return x if idist.get_world_size() == 1 else _Sum.apply(x)


def logsumexp_over_ranks(x: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials of the vectors (B,) of all processes, a scalar."""
    own = torch.logsumexp(x, dim=0)
    largest = idist.all_reduce(own.detach().clone(), op="MAX")
    return largest + sum_over_ranks(torch.exp(own - largest)).log()


def roll_over_ranks(x: Tensor) -> Tensor:
    """The batch (B, ...) of all processes rolled by one; this process's rows. No gradient comes from other processes.

    Every process has the same B.
    """
    start = idist.get_rank() * len(x)
    return idist.all_gather(x.contiguous()).roll(1, dims=0)[start : start + len(x)]
