"""The objective of the toy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from transeg.losses.segmentation import soft_dice


class ToyObjective:
    """Soft Dice on presence images. Networks: ``generator``."""

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Batch: ``image`` (n, C, *S), ``label`` (n, 1, *S)."""
        return {"seg": nets["generator"](batch["image"]), "y": batch["label"]}

    def generators(self, nets: Mapping[str, nn.Module], t: Mapping[str, Any]) -> dict[str, Tensor]:
        """Soft Dice loss."""
        return {"segmentation": soft_dice(t["seg"], t["y"])}
