"""GenSeg: semi-supervised segmentation by presence/absence translation.

Vorontsov et al., "Towards annotation-efficient segmentation via image-to-image translation". Symbols as in the paper:
P presence, A absence, c common code, u unique code, x_PA = a presence image translated to absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transeg.losses.adversarial import hinge_discriminator, hinge_generator
from transeg.losses.ranks import roll_over_ranks
from transeg.losses.reconstruction import absolute_error
from transeg.methods.genseg.losses import mutual_information_bound
from transeg.objectives.supervision import segmentation_loss, supervised

Skips = list[Tensor]


@dataclass
class GenSegTranslation:
    """Everything one iteration computes from n presence and n absence images; absent directions are None."""

    x_p: Tensor
    x_a: Tensor
    code_p: Tensor
    c_p: Tensor
    c_a: Tensor
    u_p: Tensor
    x_pa: Tensor
    x_aa: Tensor
    x_pp: Tensor
    code_pp: Tensor
    c_aa: Tensor
    c_pa: Tensor | None = None
    x_ap: Tensor | None = None
    code_ap: Tensor | None = None  # [c_A; u], u ~ N(0, I): what x_AP was made from
    code_ap_again: Tensor | None = None  # E(x_AP)
    x_apa: Tensor | None = None
    seg: Tensor | None = None  # logits of the labelled presence images, then of absence images that count
    y: Tensor | None = None
    labelled: Tensor | None = None


class GenSegObjective:
    """Equations 1 to 11.

    Networks by name: ``generator`` (`GenSegNet`), ``d_a``, ``d_p`` (`MultiScaleDiscriminator`, when translating),
    ``information`` (`MutualInformationNet`, optional).

    Batch: ``image`` x_P (n, C, *S), ``label`` (n, K, *S), ``labelled`` (n,) bool, ``absence`` x_A (n, C, *S), and with
    several pathologies ``pathology`` (n, K) bool, which of them an image presents (default: all). With K > 1 an
    absence image becomes K presence images, one for each pathology, and ``d_p`` judges them against the images
    that present any.

    Args:
        translate: "both", "presence_to_absence" or "none" (ablation of Table 3b).
        segment_absence: let absence images count as labelled with an empty mask. Not in the paper, which scores
            slices with a lesion; on whole volumes it keeps false alarms away.
    """

    detached = frozenset({"discriminators", "information"})

    def __init__(self, translate: str = "both", segment_absence: bool = False) -> None:
        if translate not in ("both", "presence_to_absence", "none"):
            raise ValueError(f"translate is both, presence_to_absence or none, got '{translate}'.")
        self.translate, self.segment_absence = translate, segment_absence

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> GenSegTranslation:
        """Encode, decode and re-encode; calls of the same network go together in one batch."""
        net = nets["generator"]
        x_p, x_a = batch["image"], batch["absence"]
        n, k = len(x_p), net.pathologies
        present = batch.get("pathology", torch.ones(n, k, dtype=torch.bool, device=x_p.device))

        code, skips = net.encode(torch.cat([x_p, x_a]))  # eq. 1
        code_p, code_a = code[:n], code[n:]
        c_p, c_a = code_p[:, : net.common_channels], code_a[:, : net.common_channels]
        x_pa, x_aa = net.decode_common(code, skips).split(n)  # eqs. 2, 5
        shape = code_a[:, net.common_channels :].shape
        u = torch.randn(shape, dtype=code.dtype, device=code.device)  # the same whatever the memory format of the code
        code_ap = torch.cat([c_a, u], dim=1)

        x_pp, x_ap = x_pa, []
        both = self.translate == "both"
        codes = torch.cat([code_p, code_ap]) if both else code_p
        own_skips = skips if both else [s[:n] for s in skips]
        for index in range(k):
            residual = net.decode_residual(codes, own_skips, index)
            mask = present[:, index].view(n, *[1] * (x_p.dim() - 1)).to(residual.dtype)
            x_pp = x_pp + mask * residual[:n]  # eq. 3
            if both:
                x_ap.append(x_aa + residual[n:])  # eq. 5

        again = [x_pp, x_aa] + ([x_pa] if self.translate != "none" else [])
        code_again, _ = net.encode(torch.cat(again))
        c_again = code_again[:, : net.common_channels]
        u_p = code_p[:, net.common_channels :]
        images = {"x_p": x_p, "x_a": x_a, "x_pa": x_pa, "x_aa": x_aa, "x_pp": x_pp}
        codes_again = {"code_pp": code_again[:n], "c_aa": c_again[n : 2 * n]}
        t = GenSegTranslation(**images, code_p=code_p, c_p=c_p, c_a=c_a, u_p=u_p, **codes_again)
        if self.translate != "none":
            t.c_pa = c_again[2 * n :]
        if both:  # encoded apart: only its long skips are used, and a slice of a batch's skips costs a full gradient
            t.x_ap, t.code_ap = torch.cat(x_ap), code_ap
            t.code_ap_again, skips_again = net.encode(t.x_ap)
            t.x_apa = net.decode_common(t.code_ap_again, skips_again)

        t.labelled = batch["labelled"]
        rows, t.y = supervised(batch, self.segment_absence)
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
            "segmentation": segmentation_loss(t.seg, t.y),  # eq. 7
            "reconstruction": absolute_error(t.x_pp, t.x_p) + absolute_error(t.x_aa, t.x_a),  # eq. 8
        }
        latent = absolute_error(t.code_pp, t.code_p) + absolute_error(t.c_aa, t.c_a)  # eq. 9
        if t.c_pa is not None:
            latent = latent + absolute_error(t.c_pa, t.c_p)
            terms["adversarial"] = hinge_generator(nets["d_a"](t.x_pa))  # eq. 11
        if t.x_ap is not None:
            n, net = len(t.x_a), nets["generator"]
            for index in range(net.pathologies):
                made = net.own_code(t.code_ap_again[index * n : (index + 1) * n], index)
                latent = latent + absolute_error(made, net.own_code(t.code_ap, index)) / net.pathologies
            terms["cycle"] = absolute_error(t.x_apa, t.x_a.repeat(net.pathologies, *[1] * (t.x_a.dim() - 1)))  # eq. 10
            terms["adversarial"] = terms["adversarial"] + hinge_generator(nets["d_p"](t.x_ap))
        terms["latent"] = latent
        return terms

    def information(self, nets: Mapping[str, nn.Module], t: GenSegTranslation) -> dict[str, Tensor]:
        """Train the estimator of the mutual information of c and u (Fig. 5); it does not touch the codes."""
        c, u, network = t.c_p.detach(), t.u_p.detach(), nets["information"]
        bound = mutual_information_bound(network(c, u), network(c, roll_over_ranks(u)))
        return {"mutual_information": -bound}


def _judge(discriminator: nn.Module, real: Tensor, fake: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    maps = discriminator(torch.cat([real, fake]))
    return [m[: len(real)] for m in maps], [m[len(real) :] for m in maps]
