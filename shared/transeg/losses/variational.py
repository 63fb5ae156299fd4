"""Divergence of a code from its prior."""

from __future__ import annotations

from torch import Tensor

from transeg.losses.precision import at_least_float32


def normal_divergence(mean: Tensor, log_variance: Tensor, reduction: str = "sum") -> Tensor:
    r"""Kullback-Leibler divergence of $\mathcal{N}(\mu, \sigma^2)$ from $\mathcal{N}(0, I)$, PathoGAN eq. 9, in nats.

    $$\tfrac12 \sum_k (\mu_k^2 + \sigma_k^2 - \log \sigma_k^2 - 1)$$, mean over the batch.

    Args:
        mean: (B, K).
        log_variance: (B, K).
        reduction: "sum" over the K dimensions as it reads, or their "mean", which weighs less beside losses that are
            means over pixels and so guards against a posterior collapse.

    Raises:
        ValueError: another reduction.
    """
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction is sum or mean, got '{reduction}'.")
    mean, log_variance = at_least_float32(mean), at_least_float32(log_variance)
    divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1)
    return (divergence.sum(dim=1) if reduction == "sum" else divergence.mean(dim=1)).mean()
