"""PathoGAN: pathology segmentation from image-level labels, healthy or not.

Andermatt et al. 2018, "Pathology segmentation using distributional differences to images of healthy origin". Symbols
as in the paper: A healthy, B pathological; the translation from domain X has a label map l_X (kept as logits u_X) and
an inpainting p_X. A hat marks the first translation, a tilde the way back, here _back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from transeg.losses.adversarial import least_squares_discriminator, least_squares_generator
from transeg.losses.precision import at_least_float32
from transeg.losses.reconstruction import absolute_error
from transeg.methods.pathogan.losses import label_agreement, label_size, normal_divergence, region_error, relevancy
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.objectives.history_pool import HistoryPool
from transeg.objectives.image_level import image_level_error
from transeg.objectives.translations import Way


@dataclass
class PathoGANTranslation:
    """Everything one iteration computes from n pathological and n healthy images (C, *S)."""

    x_a: Tensor
    x_b: Tensor
    u_a: Tensor  # A -> B, (n, 1, *S)
    p_a: Tensor
    y_b: Tensor
    u_b: Tensor  # B -> A
    p_b: Tensor
    y_a: Tensor
    u_a_back: Tensor  # y_a -> B
    p_a_back: Tensor
    x_b_back: Tensor
    u_b_back: Tensor  # y_b -> A
    p_b_back: Tensor
    x_a_back: Tensor
    u_a_same: Tensor  # A -> B applied to x_b, which is in B already
    u_b_same: Tensor
    gamma: tuple[Tensor, Tensor]  # mean and log variance of the code of x_a, (n, K)
    delta: tuple[Tensor, Tensor]  # of the pathology in x_b


class PathoGANObjective:
    """Equations 7 to 17, with signs and constants such that each is minimised (see `transeg.methods.pathogan.losses`).

    Networks by name: ``generator`` (`PathoGANNet`), ``d_a``, ``d_b`` (discriminators of healthy and pathological
    images). Batch: ``image`` x_b (n, C, *S) and ``absence`` x_a (n, C, *S); masks are not used.

    Args:
        detach_masks: no gradient through the label maps that weight the errors of the inpaintings. Eqs. 11 and 12
            have one, which lowers the errors by growing or shrinking the maps.
        squared: squared errors, as of a Gaussian likelihood; False for the paper's norms.
        reduction: "sum" (eq. 9) or "mean" of the divergence over the length of a code.
        noise: standard deviation of epsilon, added to the logits of the label maps (eq. 6).
        pool_size: earlier translations stored for each discriminator.
    """

    detached = frozenset({"discriminators"})
    translations: ClassVar[Mapping[str, Way]] = {
        "y_a": Way("x_b", "x_a", "x_b_back"),
        "y_b": Way("x_a", "x_b", "x_a_back"),
    }

    def __init__(
        self,
        detach_masks: bool = False,
        squared: bool = True,
        reduction: str = "sum",
        noise: float = 1.0,
        pool_size: int = 50,
    ) -> None:
        self.detach_masks, self.squared, self.reduction, self.noise = detach_masks, squared, reduction, noise
        self.pool_a, self.pool_b = HistoryPool(pool_size), HistoryPool(pool_size)

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> PathoGANTranslation:
        """Translate there and back; calls of the same network share one batch where possible."""
        net, x_b, x_a = cast(PathoGANNet, nets["generator"]), batch["image"], batch["absence"]
        n = len(x_b)

        (u_b, u_b_same), (p_b, _) = self._split(net.residual_b(torch.cat([x_b, x_a])), n)
        mean, log_variance = net.gamma(torch.cat([x_a, x_b]))
        gamma = _sample(mean, log_variance)
        delta = torch.cat([torch.randn_like(gamma[:n]), torch.zeros_like(gamma[n:])])  # any pathology, or none
        (u_a, u_a_same), (p_a, _) = self._split(net.residual_a(gamma, delta), n)
        y_a, y_b = net.blend(u_b, p_b, x_b), net.blend(u_a, p_a, x_a)

        (u_b_back,), (p_b_back,) = self._split(net.residual_b(y_b), n)
        delta_b = net.delta(torch.sigmoid(u_b) * x_b)
        codes = _sample(*net.gamma(y_a)), _sample(*delta_b)
        (u_a_back,), (p_a_back,) = self._split(net.residual_a(*codes), n)
        x_a_back, x_b_back = net.blend(u_b_back, p_b_back, y_b), net.blend(u_a_back, p_a_back, y_a)
        images = {"x_a": x_a, "x_b": x_b, "y_a": y_a, "y_b": y_b, "x_a_back": x_a_back, "x_b_back": x_b_back}
        maps = {"u_a": u_a, "u_b": u_b, "u_a_back": u_a_back, "u_b_back": u_b_back}
        inpaintings = {"p_a": p_a, "p_b": p_b, "p_a_back": p_a_back, "p_b_back": p_b_back}
        same = {"u_a_same": u_a_same, "u_b_same": u_b_same}
        gamma_a = mean[:n], log_variance[:n]
        return PathoGANTranslation(**images, **maps, **inpaintings, **same, gamma=gamma_a, delta=delta_b)

    def _split(self, residual: tuple[Tensor, Tensor], n: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Noisy logits (eq. 6) and inpaintings, each split into parts of n images."""
        logits, inpainting = residual
        return (logits + self.noise * torch.randn_like(logits)).split(n), inpainting.split(n)

    def generators(self, nets: Mapping[str, nn.Module], t: PathoGANTranslation) -> dict[str, Tensor]:
        """Both directions of every loss (eqs. 16 and 17); L_VAE (eq. 10) is "outside", "inside" and "label".

        Not of the paper is "presence", the cross-entropy of the classifier, which nothing else trains; 0 without one.
        """
        l_a, l_b, l_a_back, l_b_back = (torch.sigmoid(u) for u in (t.u_a, t.u_b, t.u_a_back, t.u_b_back))
        divergence = normal_divergence(*t.gamma, self.reduction) + normal_divergence(*t.delta, self.reduction)
        return {
            "adversarial": least_squares_generator(nets["d_a"](t.y_a)) + least_squares_generator(nets["d_b"](t.y_b)),
            "cycle": absolute_error(t.x_a_back, t.x_a) + absolute_error(t.x_b_back, t.x_b),  # eq. 8
            "outside": self._error(1 - l_a, t.p_a, t.x_a) + self._error(1 - l_b, t.p_b, t.x_b),  # eq. 11
            "inside": self._error(l_a_back, t.p_a_back, t.x_b) + self._error(l_b_back, t.p_b_back, t.x_a),  # eq. 12
            "label": label_agreement(t.u_a_back, l_b) + label_agreement(t.u_b_back, l_a),  # eq. 13
            "identity": label_size(t.u_a_same) + label_size(t.u_b_same),  # eq. 14
            "relevancy": relevancy(t.u_a, t.p_a, t.x_a) + relevancy(t.u_b, t.p_b, t.x_b),  # eq. 15
            "divergence": divergence,  # eq. 9
            "presence": self._presence(cast(PathoGANNet, nets["generator"]), t),
        }

    def _presence(self, net: PathoGANNet, t: PathoGANTranslation) -> Tensor:
        if net.classifier is None:
            return t.x_a.new_zeros(())
        logits = net.classifier(torch.cat([t.x_b, t.x_a])).flatten()
        return image_level_error(at_least_float32(logits), len(t.x_b))

    def _error(self, region: Tensor, inpainting: Tensor, image: Tensor) -> Tensor:
        return region_error(region.detach() if self.detach_masks else region, inpainting, image, self.squared)

    def discriminators(self, nets: Mapping[str, nn.Module], t: PathoGANTranslation) -> dict[str, Tensor]:
        """L_GAN (eq. 7) as a least-squares loss, on translations from the pools."""
        y_a, y_b = self.pool_a.query(t.y_a), self.pool_b.query(t.y_b)  # detached there
        loss = least_squares_discriminator(nets["d_a"](t.x_a), nets["d_a"](y_a))
        return {"adversarial": loss + least_squares_discriminator(nets["d_b"](t.x_b), nets["d_b"](y_b))}

    def state_dict(self) -> dict[str, Any]:
        """The pools."""
        return {"pool_a": self.pool_a.state_dict(), "pool_b": self.pool_b.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the pools."""
        self.pool_a.load_state_dict(state["pool_a"])
        self.pool_b.load_state_dict(state["pool_b"])


def _sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Reparametrised sample of a normal distribution."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
