"""Precision of what is summed."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Half-precision tensors as float32, others as they are: sums and logarithms of half precision overflow."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
