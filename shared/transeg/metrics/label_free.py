"""What can be said of the translations of an epoch without labels, and which epoch to keep by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.nn import functional

FILTERS, SIZE = 64, 5  # random filters, and their width in voxels
QUANTILES = 200
CONVOLVE = {2: functional.conv2d, 3: functional.conv3d}


def patch_distance(images: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Sliced Wasserstein distance between the patches of two sets of images, of any numbers and sizes.

    The mean absolute difference between the quantiles of the responses to fixed random filters of unit norm (Rabin et
    al. 2011; without a pretrained network), so that contrast and texture count, and not where structures are.

    Args:
        images: (C, *S) each, in 2D or 3D.
        others: likewise, with the same C.

    Returns:
        In the unit of the intensities, 0 for equal distributions.
    """
    first, second = (_quantiles(part) for part in (images, others))
    return float((first - second).abs().mean())


def _quantiles(images: Sequence[Tensor]) -> Tensor:
    """Quantiles of the responses of all images, (QUANTILES, FILTERS)."""
    channels, dims = len(images[0]), images[0].ndim - 1
    generator = torch.Generator().manual_seed(0)
    filters = torch.randn(FILTERS, channels, *[SIZE] * dims, generator=generator)
    filters = filters / filters.flatten(1).norm(dim=1).view(-1, *[1] * (dims + 1))
    responses = [
        CONVOLVE[dims](image.float()[None], filters.to(image.device), stride=SIZE // 2)[0].flatten(1)
        for image in images
    ]
    ordered = torch.cat(responses, dim=1).sort(dim=1).values
    return ordered[:, torch.linspace(0, ordered.shape[1] - 1, QUANTILES).round().long()].T


def mean_ranks(epochs: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Mean over the criteria of the rank of each epoch, 1 for the lowest value; equal values share their mean rank.

    Args:
        epochs: value of each criterion, the same ones for all epochs; lower is better.

    Returns:
        float64 (number of epochs,).
    """
    values = np.array([list(epoch.values()) for epoch in epochs])
    return rankdata(values, axis=0).mean(axis=1)


def undominated(epochs: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Which epochs may still come first in `mean_ranks`, whatever follows: no other is better in every criterion.

    Args:
        epochs: see `mean_ranks`.

    Returns:
        bool (number of epochs,).
    """
    values = np.array([list(epoch.values()) for epoch in epochs])
    worse = np.all(values[:, None] > values[None], axis=2)  # each than each other
    return np.logical_not(np.any(worse, axis=1))
