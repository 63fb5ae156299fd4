"""Floating-point precision of losses."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32, in which sums and logarithms do not overflow; other types are kept."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
