"""Domain loss of Gadermayr et al. 2021, eq. 3: a translation may change intensities in one direction only."""

from __future__ import annotations

import torch
from torch import Tensor


def brightening(translation: Tensor, source: Tensor) -> Tensor:
    r"""$\mathbb{E}[\max(0, \hat x - x)]$: how much brighter a translation is than its source, mean over voxels.

    Healthy muscle is darker on T1w images than infiltrated muscle, so nothing may brighten from the hard to the easy
    domain and nothing may darken on the way back (`darkening`). The sum of both is $L_r$ of eq. 3. No gradient passes
    to the source.

    Shapes: any, the same -> scalar.
    """
    return torch.relu(translation - source.detach()).mean()


def darkening(translation: Tensor, source: Tensor) -> Tensor:
    r"""$\mathbb{E}[\max(0, x - \hat x)]$: how much darker a translation is than its source, see `brightening`."""
    return torch.relu(source.detach() - translation).mean()
