"""How uncertain a segmentation is, and how far the members of an ensemble disagree.

Probabilities are (C, *S): of the only structure (C = 1), or of the background and each structure, which sum to 1.

The entropy of the mean probability of members is their mean entropy plus their mutual information, here called
disagreement: what members say differently, rather than what each of them finds ambiguous (Houlsby et al. 2011; Depeweg
et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from transeg.metrics.overlap import dice


def entropy(probability: Tensor) -> Tensor:
    """Entropy of each voxel as a fraction of the largest, that of equal probabilities: (C, *S) -> (1, *S) in [0, 1]."""
    classes = probability if len(probability) > 1 else torch.cat([probability, 1 - probability])
    return (torch.special.entr(classes).sum(dim=0, keepdim=True) / np.log(len(classes))).clamp(0, 1)


def mutual_information(mean: Tensor, mean_entropy: Tensor) -> Tensor:
    """Disagreement of members in each voxel, in the unit of `entropy`: (1, *S) in [0, 1].

    Args:
        mean: of their probabilities (C, *S).
        mean_entropy: of their entropies (1, *S).
    """
    return (entropy(mean) - mean_entropy).clamp(min=0)


def classes_of(probability: Tensor, threshold: float = 0.5) -> Tensor:
    """Class of each voxel, uint8 (C, *S) -> (*S): the most probable one, or, of an only structure, by a threshold."""
    found = probability.argmax(dim=0) if len(probability) > 1 else probability[0] >= threshold
    return found.to(torch.uint8)


def pairwise_dice(members: Sequence[np.ndarray]) -> float:
    """Mean over pairs of members, and over the structures that either has, of the Dice of their classes (*S).

    1 where no member of any pair has a structure; NaN for a single member.
    """
    scores = []
    for first, second in combinations(members, 2):
        structures = np.union1d(np.unique(first), np.unique(second))
        own = [dice(first == k, second == k) for k in structures if k]
        scores.append(float(np.mean(own)) if own else 1.0)
    return float(np.mean(scores)) if scores else float("nan")


def doubtful_region(probability: Tensor, threshold: float = 0.5) -> np.ndarray:
    """Where the uncertainty of a case is measured, bool (C, *S) -> (*S): its structures and one voxel around them.

    Where nothing is segmented, the most probable voxel of a structure and those around it.
    """
    inside = classes_of(probability, threshold).numpy(force=True) > 0
    if not inside.any():
        likely = (1 - probability[0] if len(probability) > 1 else probability[0]).numpy(force=True)
        inside.flat[likely.argmax()] = True
    return binary_dilation(inside, np.ones((3,) * inside.ndim))
