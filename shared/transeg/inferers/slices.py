"""Predictions for slices of unlabelled studies, before a training run."""

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
    """Probability of the lesion in slices, predicted with the inference weights.

    Called with N items; returns (N, X, Y), or None if there are no weights.

    Args:
        network: network of the weights' architecture, with or without spectral norm; left unchanged.
        path: weights, see `transeg.engines.weights.load_weights`.
        transform: item -> dict with "image" (C, X, Y).
        probability: (images, network output) -> probabilities (B, K, X, Y), of which the first channel is used;
            default sigmoid of the output.
        batch_size: slices per forward pass.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        path: PathLike,
        transform: Callable[[dict[Any, Any]], Mapping[Any, Any]],
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
        """Predict the items' slices."""
        if not self.path.is_file():
            return None
        device = next(self.network.parameters()).device
        parts = []
        for start in range(0, len(items), self.batch_size):
            slices = [self.transform(dict(item))["image"] for item in items[start : start + self.batch_size]]
            images = torch.stack(slices).to(device)
            parts.append(self.probability(images, self._trained(images))[:, 0].cpu().numpy())
        return np.concatenate(parts)
