"""Dice pooled over all slices of a split, the score of Vorontsov et al."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor


class GlobalDice(Metric):
    """Soft Dice of a split: (2 sum(y s) + 1) / (sum(y) + sum(s) + 1), with sums over all slices and voxels.

    Unlike the mean Dice per volume it weights a lesion by its size, and slices without a lesion count through their
    false positives. Sums are float64 and pooled over processes.

    Args:
        output_transform: returns (predictions, labels) of a batch: tensors, or lists with a tensor per item
            (`monai.handlers.from_engine(["pred", "label"])`). Labels are 0 or 1, predictions are probabilities (or 0
            and 1) of the same shape.
        smooth: the 1 in the formula; without any lesion and any prediction the score is 1.
        device: of the sums.
    """

    _state_dict_all_req_keys = ("_overlap", "_sizes")

    def __init__(
        self,
        output_transform: Callable = lambda output: output,
        smooth: float = 1.0,
        device: str | torch.device = "cpu",
    ) -> None:
        self.smooth = smooth
        super().__init__(output_transform=output_transform, device=device)

    @reinit__is_reduced
    def reset(self) -> None:
        """Start a new split."""
        self._overlap = torch.zeros((), dtype=torch.float64, device=self._device)
        self._sizes = torch.zeros((), dtype=torch.float64, device=self._device)
        self._items = 0

    @reinit__is_reduced
    def update(self, output: tuple[Tensor | Sequence[Tensor], Tensor | Sequence[Tensor]]) -> None:
        """Add a batch.

        Raises:
            ValueError: a prediction and its label differ in shape.
        """
        for prediction, label in zip(*output, strict=True):
            if prediction.shape != label.shape:
                raise ValueError(f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape")
            s, y = (torch.as_tensor(x.detach()).to(self._device, torch.float64) for x in (prediction, label))
            self._overlap += (s * y).sum()
            self._sizes += s.sum() + y.sum()
            self._items += 1

    @sync_all_reduce("_overlap", "_sizes", "_items")
    def compute(self) -> float:
        """Return the Dice of all batches since the reset.

        Raises:
            NotComputableError: there were none.
        """
        if not self._items:
            raise NotComputableError("GlobalDice has no slices: the split is empty")
        return float((2 * self._overlap + self.smooth) / (self._sizes + self.smooth))
