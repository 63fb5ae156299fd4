"""What the direction of a translation allows: Gadermayr et al. 2021, eq. 3."""

from __future__ import annotations

import torch
from torch import Tensor


def brightening(translation: Tensor, source: Tensor) -> Tensor:
    r"""$\mathbb{E}[\max(0, \hat x - x)]$: by how much a translation is brighter than its source, mean over voxels.

    Healthy muscle is darker on T1 than infiltrated muscle, so from the hard to the easy domain nothing may brighten;
    back, with the arguments exchanged, nothing may darken. Their sum is $L_r$ of eq. 3. The source is a constant.
    """
    return torch.relu(translation - source.detach()).mean()


def darkening(translation: Tensor, source: Tensor) -> Tensor:
    r"""$\mathbb{E}[\max(0, x - \hat x)]$, see `brightening`."""
    return torch.relu(source.detach() - translation).mean()
