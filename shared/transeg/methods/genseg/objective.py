"""GenSeg: semi-supervised segmentation by presence/absence translation.

Vorontsov et al., "Towards annotation-efficient segmentation via image-to-image translation". Symbols as in the paper:
P presence, A absence, c common code, u unique code, x_PA = a presence image translated to absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.losses.adversarial import hinge_discriminator, hinge_generator
from transeg.losses.ranks import roll_over_ranks
from transeg.losses.reconstruction import absolute_error
from transeg.methods.genseg.losses import mutual_information_bound
from transeg.methods.genseg.networks import GenSegNet
from transeg.objectives.supervision import segmentation_loss, supervised
from transeg.objectives.translations import Way


@dataclass
class GenSegTranslation:
    """Everything one iteration computes from n presence and n absence images; directions left out are None."""

    x_p: Tensor
    x_a: Tensor
    code_p: Tensor  # [c_P; u_P]
    c_p: Tensor
    c_a: Tensor
    u_p: Tensor
    x_pa: Tensor
    x_aa: Tensor
    x_pp: Tensor
    code_pp: Tensor  # E(x_PP)
    c_aa: Tensor
    labelled: Tensor
    y: Tensor  # masks of the labelled presence images, then of the absence images that count
    seg: Tensor | None = None  # their logits; None without any
    c_pa: Tensor | None = None
    x_ap: Tensor | None = None
    code_ap: Tensor | None = None  # [c_A; u], u ~ N(0, I): the code that x_AP is decoded from
    code_ap_again: Tensor | None = None  # E(x_AP)
    x_apa: Tensor | None = None


class GenSegObjective:
    """Equations 1 to 11.

    Networks by name: ``generator`` (`GenSegNet`), ``d_a``, ``d_p`` (`MultiScaleDiscriminator`, for the directions
    translated), ``information`` (`MutualInformationNet`, optional).

    Batch: ``image`` x_P (n, C, *S), ``label`` (n, K, *S), ``labelled`` (n,) bool, ``absence`` x_A (n, C, *S), and with
    several pathologies ``pathology`` (n, K) bool, which of them an image presents (default: all). With K > 1 an
    absence image becomes K presence images, one per pathology, and ``d_p`` compares them with the images that present
    any.

    Args:
        translate: "both", "presence_to_absence" or "none" (ablation of Table 3b).
        segment_absence: count absence images as labelled with an empty mask, here and in all baselines. Not in the
            paper, which scores slices with a lesion; on whole volumes it suppresses false alarms.
        cross_entropy: weight of the cross-entropy beside the soft Dice loss, see `segmentation_loss`. Not in the paper.

    Raises:
        ConfigError: ``translate`` is none of these.
    """

    detached = frozenset({"discriminators", "information"})
    translations: ClassVar[Mapping[str, Way]] = {"x_pa": Way("x_p", "x_a", "x_pp"), "x_ap": Way("x_a", "x_p", "x_apa")}

    def __init__(self, translate: str = "both", segment_absence: bool = False, cross_entropy: float = 0.0) -> None:
        if translate not in ("both", "presence_to_absence", "none"):
            raise ConfigError(f"translate must be both, presence_to_absence or none, got '{translate}'.")
        self.translate, self.segment_absence, self.cross_entropy = translate, segment_absence, cross_entropy

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> GenSegTranslation:
        """Encode, decode and re-encode; calls of the same network share one batch."""
        net, both = cast(GenSegNet, nets["generator"]), self.translate == "both"
        x_p, x_a = batch["image"], batch["absence"]
        n, common = len(x_p), net.common_channels

        code, skips = net.encode(torch.cat([x_p, x_a]))  # eq. 1
        code_p, code_a = code.split(n)
        parts = [common, code.shape[1] - common]
        (c_p, u_p), (c_a, u_a) = code_p.split(parts, dim=1), code_a.split(parts, dim=1)
        x_pa, x_aa = net.decode_common(code, skips).split(n)  # eqs. 2, 5
        u = torch.randn(u_a.shape, dtype=code.dtype, device=code.device)  # drawn alike in every memory format
        code_ap = torch.cat([c_a, u], dim=1)
        codes, own_skips = (torch.cat([code_p, code_ap]), skips) if both else (code_p, [s[:n] for s in skips])
        residuals = [net.decode_residual(codes, own_skips, k).split(n) for k in range(net.pathologies)]
        x_pp = _add_presented(x_pa, [r[0] for r in residuals], batch.get("pathology"))  # eq. 3
        x_ap = [x_aa + r[1] for r in residuals] if both else []  # eq. 5

        again = [x_pp, x_aa] if self.translate == "none" else [x_pp, x_aa, x_pa]
        code_again = net.encode(torch.cat(again))[0].split(n)
        rows, y = supervised(batch, self.segment_absence)
        images = {"x_p": x_p, "x_a": x_a, "x_pa": x_pa, "x_aa": x_aa, "x_pp": x_pp}
        codes_again = {"code_pp": code_again[0], "c_aa": code_again[1][:, :common]}
        labels = {"labelled": batch["labelled"], "y": y}
        t = GenSegTranslation(**images, code_p=code_p, c_p=c_p, c_a=c_a, u_p=u_p, **codes_again, **labels)
        if self.translate != "none":
            t.c_pa = code_again[2][:, :common]
        if both:  # encoded apart: only its long skips are used, and a slice of a batch's skips costs a full gradient
            t.x_ap, t.code_ap = torch.cat(x_ap), code_ap
            t.code_ap_again, skips_again = net.encode(t.x_ap)
            t.x_apa = net.decode_common(t.code_ap_again, skips_again)
        if len(rows) > 0:  # the loss sees labelled images only, so only these are segmented (eq. 4)
            t.seg = net.segment(code[rows], [s[rows] for s in skips])
        return t

    def discriminators(self, nets: Mapping[str, nn.Module], t: GenSegTranslation) -> dict[str, Tensor]:
        """Hinge loss of D_A and D_P (eq. 11)."""
        loss = hinge_discriminator(*_judge(nets["d_a"], t.x_a, t.x_pa.detach()))
        if t.x_ap is not None:
            loss = loss + hinge_discriminator(*_judge(nets["d_p"], t.x_p, t.x_ap.detach()))
        return {"adversarial": loss}

    def generators(self, nets: Mapping[str, nn.Module], t: GenSegTranslation) -> dict[str, Tensor]:
        """The five losses of eq. 6 (without those of the directions left out)."""
        terms = {
            "segmentation": segmentation_loss(t.seg, t.y, self.cross_entropy),  # eq. 7
            "reconstruction": absolute_error(t.x_pp, t.x_p) + absolute_error(t.x_aa, t.x_a),  # eq. 8
        }
        latent = absolute_error(t.code_pp, t.code_p) + absolute_error(t.c_aa, t.c_a)  # eq. 9
        if t.c_pa is not None:
            latent = latent + absolute_error(t.c_pa, t.c_p)
            terms["adversarial"] = hinge_generator(nets["d_a"](t.x_pa))  # eq. 11
        if t.x_ap is not None and t.x_apa is not None and t.code_ap is not None and t.code_ap_again is not None:
            n, net = len(t.x_a), cast(GenSegNet, nets["generator"])
            for k in range(net.pathologies):
                again = net.own_code(t.code_ap_again[k * n : (k + 1) * n], k)
                latent = latent + absolute_error(again, net.own_code(t.code_ap, k)) / net.pathologies
            terms["cycle"] = absolute_error(t.x_apa, t.x_a.repeat(net.pathologies, *[1] * (t.x_a.dim() - 1)))  # eq. 10
            terms["adversarial"] = terms["adversarial"] + hinge_generator(nets["d_p"](t.x_ap))
        terms["latent"] = latent
        return terms

    def information(self, nets: Mapping[str, nn.Module], t: GenSegTranslation) -> dict[str, Tensor]:
        """Train the estimator of the mutual information of c and u (Fig. 5); the codes get no gradient."""
        c, u, network = t.c_p.detach(), t.u_p.detach(), nets["information"]
        bound = mutual_information_bound(network(c, u), network(c, roll_over_ranks(u)))
        return {"mutual_information": -bound}


def _add_presented(x_pa: Tensor, residuals: list[Tensor], present: Tensor | None) -> Tensor:
    """Add to x_PA (n, C, *S) the residuals of the pathologies that each image presents, (n, K) bool or None for all."""
    x_pp = x_pa
    for k, residual in enumerate(residuals):
        x_pp = x_pp + (residual if present is None else present[:, k].view(-1, *[1] * (x_pa.dim() - 1)) * residual)
    return x_pp


def _judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    maps = [m.split([len(real), len(fake)]) for m in discriminator(torch.cat([real, fake]))]
    return [m[0] for m in maps], [m[1] for m in maps]
