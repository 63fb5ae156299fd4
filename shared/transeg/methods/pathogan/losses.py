"""Losses on a label map l and the inpainting p that replaces the image there (Andermatt et al. 2018, PathoGAN).

The paper writes its norms as sums; here they are means over pixels (and channels), as in the code that it builds on,
so that its weights apply. Regional means are taken per image, then over the batch. All losses are computed in at least
float32.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from transeg.errors import ConfigError
from transeg.losses.precision import at_least_float32

EPSILON = 1e-6  # pixels, added to the size of a region


def region_error(region: Tensor, prediction: Tensor, target: Tensor, squared: bool = True) -> Tensor:
    r"""Error of an inpainting within a region, PathoGAN eqs. 11 and 12 as a loss.

    $$\frac{\sum [m (p - x)]^2}{\sum m + \epsilon}$$ with a constant denominator and the square averaged over channels;
    or, as the paper has it, the norm without the square: $\lVert m (p - x) \rVert_2 / (\sum m + \epsilon)$.

    Args:
        region: m in [0, 1], (B, 1, *S). Its gradient shrinks the region; detach it to prevent that.
        prediction: p (B, C, *S).
        target: x (B, C, *S).
        squared: False for the paper's norm.
    """
    region = at_least_float32(region)
    size = region.detach().flatten(1).sum(dim=1) + EPSILON
    square = (region * (prediction - target)).square().mean(dim=1).flatten(1).sum(dim=1)
    if squared:
        return (square / size).mean()
    return ((square + EPSILON**2).sqrt() / size).mean()


def label_agreement(logits: Tensor, target: Tensor) -> Tensor:
    r"""Cross-entropy between the label maps of the two directions, PathoGAN eq. 13 negated, mean over pixels.

    Args:
        logits: of $\tilde l$, (B, 1, *S).
        target: $\hat l$ in [0, 1], (B, 1, *S), treated as a constant.
    """
    logits = at_least_float32(logits)
    return F.binary_cross_entropy_with_logits(logits, target.detach().to(logits.dtype))


def label_size(logits: Tensor) -> Tensor:
    r"""Mean of a label map that should be empty, PathoGAN eq. 14: $\lVert l \rVert_1$, logits (B, 1, *S)."""
    return torch.sigmoid(at_least_float32(logits)).mean()


def relevancy(logits: Tensor, inpainting: Tensor, image: Tensor) -> Tensor:
    r"""Favour small label maps where the inpainting differs most from the image, PathoGAN eq. 15.

    $$\mathrm{mean}[-\log(1 - l^2)] - \frac{\sum l\,|x - p|}{\sum l + \epsilon}$$ with $|x - p|$ a constant, averaged
    over channels. With $u$ the logits, $-\log(1 - l^2) = \mathrm{softplus}(u) - \log(1 + l)$, which stays finite.

    Args:
        logits: (B, 1, *S).
        inpainting: p (B, C, *S).
        image: x (B, C, *S).
    """
    logits = at_least_float32(logits)
    label = torch.sigmoid(logits)
    penalty = (F.softplus(logits) - torch.log1p(label)).mean()
    change = (image - inpainting).detach().abs().mean(dim=1, keepdim=True)
    reward = (label * change).flatten(1).sum(dim=1) / (label.flatten(1).sum(dim=1) + EPSILON)
    return penalty - reward.mean()


def normal_divergence(mean: Tensor, log_variance: Tensor, reduction: str = "sum") -> Tensor:
    r"""Kullback-Leibler divergence of $\mathcal{N}(\mu, \sigma^2)$ from $\mathcal{N}(0, I)$, PathoGAN eq. 9, in nats.

    $$\tfrac12 \sum_k (\mu_k^2 + \sigma_k^2 - \log \sigma_k^2 - 1)$$, mean over the batch. Unlike
    `torch.distributions.kl_divergence` it stays finite where $\sigma^2$ underflows.

    Args:
        mean: (B, K).
        log_variance: (B, K).
        reduction: "sum" over the K dimensions as in the paper, or "mean", which weighs less against losses averaged
            over pixels and so prevents posterior collapse.

    Raises:
        ConfigError: another reduction.
    """
    if reduction not in ("sum", "mean"):
        raise ConfigError(f"reduction must be sum or mean, got '{reduction}'.")
    mean, log_variance = at_least_float32(mean), at_least_float32(log_variance)
    divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
    return (divergence.sum(dim=1) if reduction == "sum" else divergence.mean(dim=1)).mean()
