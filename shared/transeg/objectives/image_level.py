"""Learning where a lesion is from images that are known to show it or not, by classification."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.losses.precision import at_least_float32
from transeg.objectives.supervised import Prediction


def image_level_error(logits: Tensor, presence: int) -> Tensor:
    """Mean cross-entropy of images of which the first so many are known to show the lesion; logits (B,), a scalar."""
    shown = torch.zeros_like(logits)
    shown[:presence] = 1
    return F.binary_cross_entropy_with_logits(logits, shown)


class ImageLevelObjective:
    r"""Cross-entropy of presence and absence images, classified by a pooled map of evidence. Networks: ``generator``.

    $$\frac{1}{r} \log \frac{1}{|S|} \sum e^{r m}$$

    of a map m: its mean for r = 0 (Zhou et al. 2016), nearly its maximum for a large r (Pinheiro & Collobert 2015).

    Args:
        sharpness: r.

    Raises:
        ConfigError: negative sharpness.
    """

    def __init__(self, sharpness: float = 0.0) -> None:
        if sharpness < 0:
            raise ConfigError(f"sharpness must not be negative, got {sharpness}.")
        self.sharpness = sharpness

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> Prediction:
        """Batch: ``image`` and ``absence`` (n, C, *S)."""
        x_p, x_a = batch["image"], batch["absence"]
        return Prediction(x_p, x_a, seg=nets["generator"](torch.cat([x_p, x_a])))

    def generators(self, nets: Mapping[str, nn.Module], t: Prediction) -> dict[str, Tensor]:
        """Mean cross-entropy of all images."""
        assert t.seg is not None  # from forward
        evidence = at_least_float32(t.seg).flatten(1)
        if self.sharpness:
            total = torch.logsumexp(self.sharpness * evidence, dim=1)
            pooled = (total - math.log(evidence.shape[1])) / self.sharpness
        else:
            pooled = evidence.mean(dim=1)
        return {"presence": image_level_error(pooled, len(t.x_p))}
