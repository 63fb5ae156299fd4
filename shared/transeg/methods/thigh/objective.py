"""Translation from a hard to an easy domain, so that even a simple segmenter works.

Gadermayr et al. 2021, "Image-to-image translation for simplified MRI muscle segmentation". Symbols as in the paper:
h hard, e easy, F: H -> E, G: E -> H.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.losses.adversarial import (
    cross_entropy_discriminator,
    cross_entropy_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from transeg.losses.reconstruction import absolute_error
from transeg.methods.thigh.losses import brightening, darkening
from transeg.methods.thigh.networks import ThighNet
from transeg.objectives.history_pool import HistoryPool
from transeg.objectives.translations import Way

_ADVERSARIAL = {
    "least_squares": (least_squares_discriminator, least_squares_generator),
    "cross_entropy": (cross_entropy_discriminator, cross_entropy_generator),
}


@dataclass
class ThighTranslation:
    """Everything one iteration computes from n hard and n easy images."""

    h: Tensor
    e: Tensor
    f_h: Tensor  # F(h)
    g_e: Tensor  # G(e)
    gf_h: Tensor  # G(F(h))
    fg_e: Tensor  # F(G(e))
    f_e: Tensor | None = None  # F(e), which should be e
    g_h: Tensor | None = None


class ThighObjective:
    """Equations 1 to 4.

    Networks by name: ``generator`` (`ThighNet`), ``d_e``, ``d_h`` (discriminators of the easy and the hard domain).
    Batch: ``image`` h (n, C, *S) and ``absence`` e (n, C, *S), where the pathology is absent.

    Args:
        adversarial: "least_squares" as in the code that the paper cites, or "cross_entropy" as its eq. 2 reads.
        identity: compute L_i (eq. 4), which L_r needs lest the easy images turn black.
        domain: compute L_r (eq. 3).
        pool_size: earlier translations kept for each discriminator (Zhu et al.: 50).
    """

    detached = frozenset({"discriminators"})
    translations: ClassVar[Mapping[str, Way]] = {"f_h": Way("h", "e", "gf_h"), "g_e": Way("e", "h", "fg_e")}

    def __init__(
        self, adversarial: str = "least_squares", identity: bool = True, domain: bool = True, pool_size: int = 50
    ) -> None:
        if adversarial not in _ADVERSARIAL:
            raise ConfigError(f"adversarial is one of {', '.join(_ADVERSARIAL)}, got '{adversarial}'.")
        self.discriminator_loss, self.generator_loss = _ADVERSARIAL[adversarial]
        self.identity, self.domain = identity, domain
        self.pool_e, self.pool_h = HistoryPool(pool_size), HistoryPool(pool_size)

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> ThighTranslation:
        """Translate there and back; calls of the same generator go together in one batch."""
        net = cast(ThighNet, nets["generator"])
        f, g = net.hard_to_easy, net.easy_to_hard
        h, e = batch["image"], batch["absence"]
        if not self.identity:
            f_h, g_e = f(h), g(e)
            return ThighTranslation(h, e, f_h, g_e, gf_h=g(f_h), fg_e=f(g_e))
        f_h, f_e = f(torch.cat([h, e])).split(len(h))
        g_e, g_h = g(torch.cat([e, h])).split(len(e))
        return ThighTranslation(h, e, f_h, g_e, gf_h=g(f_h), fg_e=f(g_e), f_e=f_e, g_h=g_h)

    def generators(self, nets: Mapping[str, nn.Module], t: ThighTranslation) -> dict[str, Tensor]:
        """L_d of F and G, L_c, L_r and L_i."""
        terms = {
            "adversarial": self.generator_loss(nets["d_e"](t.f_h)) + self.generator_loss(nets["d_h"](t.g_e)),  # eq. 2
            "cycle": absolute_error(t.fg_e, t.e) + absolute_error(t.gf_h, t.h),  # eq. 1
        }
        if self.domain:
            terms["domain"] = brightening(t.f_h, t.h) + darkening(t.g_e, t.e)  # eq. 3
        if t.f_e is not None and t.g_h is not None:
            terms["identity"] = absolute_error(t.f_e, t.e) + absolute_error(t.g_h, t.h)  # eq. 4
        return terms

    def discriminators(self, nets: Mapping[str, nn.Module], t: ThighTranslation) -> dict[str, Tensor]:
        """L_d of D_E and D_H (eq. 2), on translations from the pools."""
        f_h, g_e = self.pool_e.query(t.f_h), self.pool_h.query(t.g_e)  # detached there
        loss = self.discriminator_loss(nets["d_e"](t.e), nets["d_e"](f_h))
        return {"adversarial": loss + self.discriminator_loss(nets["d_h"](t.h), nets["d_h"](g_e))}

    def state_dict(self) -> dict[str, Any]:
        """The pools."""
        return {"pool_e": self.pool_e.state_dict(), "pool_h": self.pool_h.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the pools."""
        self.pool_e.load_state_dict(state["pool_e"])
        self.pool_h.load_state_dict(state["pool_h"])
