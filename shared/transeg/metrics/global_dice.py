"""Dice over all slices of a split at once, the score of Vorontsov et al."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric
from ignite.metrics.metric import reinit__is_reduced, sync_all_reduce
from torch import Tensor


class GlobalDice(Metric):
    """Soft Dice of the whole split: (2 sum(y s) + 1) / (sum(y) + sum(s) + 1), sums over all slices and voxels.

    Unlike the mean of a Dice per volume it weighs a lesion by its size, and slices without a lesion count
    through their false positives. Summed in float64, and over all processes.

    Args:
        output_transform: gives (predictions, labels) of a batch: tensors, or lists of tensors of one item each
            (`monai.handlers.from_engine(["pred", "label"])`). Predictions are probabilities (or 0 and 1) of the
            shape of the labels, which are 0 and 1.
        smooth: the 1 in the formula; without any lesion and any prediction the score is 1.
        device: where the sums are kept.
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
        """Add a batch."""
        for prediction, label in zip(*output, strict=True):
            if prediction.shape != label.shape:
                raise ValueError(f"prediction {tuple(prediction.shape)} and label {tuple(label.shape)} differ in shape")
            s, y = (torch.as_tensor(x.detach()).to(self._device, torch.float64) for x in (prediction, label))
            self._overlap += (s * y).sum()
            self._sizes += s.sum() + y.sum()
            self._items += 1

    @sync_all_reduce("_overlap", "_sizes", "_items")
    def compute(self) -> float:
        """Return the Dice of everything seen since the reset.

        Raises:
            NotComputableError: nothing was seen.
        """
        if not self._items:
            raise NotComputableError("GlobalDice has seen no slice: the split is empty")
        return float((2 * self._overlap + self.smooth) / (self._sizes + self.smooth))
