"""Predictions for the slices of a study, before a training run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import PathLike

from transeg.engines.weights import load_weights


class SliceProbabilities:
    """Probability of the lesion in slices, by the weights that inference uses.

    Args:
        network: one of their form, with or without spectral norm; stays as it is.
        path: the weights, see `transeg.engines.weights.load_weights`.
        transform: from an item to a dict with "image" (C, X, Y).
        probability: from images and the network's output for them to probabilities (B, K, X, Y), of which the first
            counts; default the sigmoid of the output.
        batch_size: slices in one call of the network.

    Called with N items it returns (N, X, Y), or None where no weights are there.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        path: PathLike,
        transform: Callable[[dict[str, Any]], Mapping[str, Any]],
        probability: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        batch_size: int = 32,
    ) -> None:
        self.network, self.path, self.transform, self.batch_size = network, Path(path), transform, batch_size
        self.probability = probability or (lambda images, logits: logits.sigmoid())

    @cached_property
    def _trained(self) -> torch.nn.Module:
        trained = copy.deepcopy(self.network)
        load_weights(trained, self.path)
        return trained.eval()

    @torch.inference_mode()
    def __call__(self, items: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
        """Run the network on the items' slices."""
        if not self.path.is_file():
            return None
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(items), self.batch_size):
            slices = [self.transform(dict(item))["image"] for item in items[start : start + self.batch_size]]
            images = torch.stack(slices).to(device)
            parts.append(self.probability(images, self._trained(images))[:, 0].cpu().numpy())
        return np.concatenate(parts)
