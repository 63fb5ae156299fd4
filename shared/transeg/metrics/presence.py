"""Presence AUC: how well predicted lesions tell slices with a lesion from those without; it needs no mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.handlers import ROCAUC
from torch import Tensor

TOP = 0.01  # a lesion may be small


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
