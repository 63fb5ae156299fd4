"""How well predicted lesions tell slices with a lesion from those without, and the threshold that tells best.

Neither needs a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.handlers import ROCAUC
from torch import Tensor

from transeg.errors import DataError

TOP = 0.01  # a lesion may be small
THRESHOLDS = tuple(np.linspace(0.05, 0.95, 91).round(2).tolist())  # of a probability


def lesion_score(probability: Tensor, top: float = TOP) -> Tensor:
    """Mean of the highest probabilities of an image.

    Args:
        probability: (C, *spatial), at least one pixel.
        top: fraction of the pixels that is averaged; at least one pixel is.

    Returns:
        Tensor (1,), float32.
    """
    values = torch.as_tensor(probability).detach().float().flatten()
    return values.topk(max(1, round(top * len(values)))).values.mean()[None]


def presence_scores(output: Sequence[Mapping[str, Any]], top: float = TOP) -> tuple[list[Tensor], list[Tensor]]:
    """Scores and image-level labels of a batch of items {"pred": probability, "presence": bool}.

    Args:
        output: items; those without "presence" are left out.
        top: see `lesion_score`.

    Returns:
        Tensors (1,) of each item: score, and 1 or 0.
    """
    known = [item for item in output if "presence" in item]
    scores = [lesion_score(item["pred"], top) for item in known]
    return scores, [torch.as_tensor(item["presence"]).float().reshape(1).to(scores[0]) for item in known]


class PresenceAUC(ROCAUC):
    """Area under the ROC curve of `lesion_score` for presence against absence, over all slices of a split.

    The probability that a slice with the lesion scores higher than one without; ties count half. Needs slices of both
    kinds. Scores are gathered over all processes.

    Args:
        output_transform: returns scores and labels of a batch, see `presence_scores`.
    """

    def __init__(self, output_transform: Callable = presence_scores) -> None:
        super().__init__(output_transform=output_transform)


class OperatingPoint(NamedTuple):
    """Voxels above `threshold` are inside, in slices with more than `least_area` of them; all else is outside."""

    threshold: float
    least_area: float
    accuracy: float  # mean of sensitivity and specificity over the slices that it was chosen on


def areas_above(volume: np.ndarray, thresholds: Sequence[float] = THRESHOLDS, pixel: float = 1.0) -> np.ndarray:
    """Area above each threshold in each slice: (X, Y, Z) -> (thresholds, Z).

    Args:
        volume: probabilities or intensities.
        thresholds: ascending.
        pixel: area of a pixel.
    """
    ordered = np.sort(volume.reshape(-1, volume.shape[-1]), axis=0)
    below = [np.searchsorted(ordered[:, z], thresholds, side="right") for z in range(ordered.shape[1])]
    return pixel * (len(ordered) - np.stack(below, axis=1))


def best_operating_point(
    areas: np.ndarray, present: np.ndarray, thresholds: Sequence[float] = THRESHOLDS
) -> OperatingPoint:
    """Threshold and least area for which mean of sensitivity and specificity over the slices is largest.

    Of equally good ones, the highest threshold counts, then the largest area.

    Args:
        areas: (thresholds, N), see `areas_above`.
        present: which slices show the lesion, bool (N,).
        thresholds: as of the areas.

    Raises:
        DataError: the slices are all of one kind.
    """
    if present.all() or not present.any():
        raise DataError(
            f"choosing a threshold by slices requires some that show the lesion and some that do not; "
            f"{present.sum()} of {len(present)} do"
        )
    best = (-1.0, 0.0, 0.0)
    for threshold, found in zip(thresholds, areas, strict=True):
        for least in np.unique(np.percentile(found, np.arange(0, 100, 2), method="lower")):
            marked = found > least
            accuracy = (marked[present].mean() + 1 - marked[~present].mean()) / 2
            best = max(best, (float(accuracy), float(threshold), float(least)))
    return OperatingPoint(best[1], best[2], best[0])
