"""Translation between two modalities and segmentation of both, each helping the other.

Zhang et al. 2018, "Translating and segmenting multimodal medical volumes with cycle- and shape-consistency generative
adversarial network". Symbols as in the paper: A CT, B MR, G_A: B -> A, G_B: A -> B, S_A and S_B segmenters; x_ab is
x_A translated to B, x_aba is it translated back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from transeg.losses.adversarial import least_squares_discriminator, least_squares_generator
from transeg.losses.reconstruction import absolute_error
from transeg.methods.cardiac.losses import voxel_cross_entropy
from transeg.methods.cardiac.sharing import hand_on, leaf_of
from transeg.objectives.history_pool import HistoryPool

VOLUMES = ("real", "synthetic", "reconstructed")
BATCHED_VOXELS = 2**19  # of volumes beyond this a batch is no faster than one after the other, and needs more memory


@dataclass
class CardiacTranslation:
    """Everything one iteration computes from n CT and m MR volumes (C, *S); no translations where none are wanted."""

    x_a: Tensor
    x_b: Tensor
    y_a: Tensor  # (n, 1, *S), 0 for background, then the regions
    y_b: Tensor
    x_ab: Tensor | None = None  # G_B(x_A)
    x_ba: Tensor | None = None  # G_A(x_B)
    x_aba: Tensor | None = None  # G_A(G_B(x_A))
    x_bab: Tensor | None = None
    logits: dict[str, Tensor] = field(default_factory=dict)  # of S_A on x_ba, "a", and of S_B on x_ab, "b"


class CardiacObjective:
    """Equations 1 to 3, and the segmenters of section 3.5.

    Networks by name: ``network`` (`CardiacNet`), ``d_ct``, ``d_mr`` (discriminators of both modalities). Batch: ``ct``
    x_A (n, C, *S) with ``ct_label`` y_A (n, 1, *S), ``mr`` x_B (m, C, *S) with ``mr_label`` y_B (m, 1, *S), labels from
    0 (background) to the number of regions; the hearts are different ones. Players: ``generators``, then
    ``segmenters`` and ``discriminators``, which look at detached translations and need not wait for each other.

    Args:
        shape: compute the shape-consistency loss (eq. 2). False is "G w/o SC".
        volumes: what segmenters learn from, of "real", "synthetic" and "reconstructed" volumes.
        translate: False leaves the generators alone, for segmenters that learn from real volumes (the paper's
            baseline, and its pre-training) or from translations made before.
        pool_size: earlier translations kept for each discriminator.

    Raises:
        ValueError: unknown volumes, or such as need translations that are not computed.
    """

    detached = frozenset({"segmenters", "discriminators"})

    def __init__(
        self, shape: bool = True, volumes: Sequence[str] = VOLUMES, translate: bool = True, pool_size: int = 50
    ) -> None:
        self.shape, self.volumes, self.translate = shape, tuple(volumes), translate
        self.check()
        self.pool_a, self.pool_b = HistoryPool(pool_size), HistoryPool(pool_size)

    def check(self) -> None:
        """Refuse arguments that do not go together; `Phases` sets them anew."""
        if not self.volumes or not set(self.volumes) <= set(VOLUMES):
            raise ValueError(f"volumes are some of {', '.join(VOLUMES)}, got {list(self.volumes)}.")
        if not self.translate and set(self.volumes) != {"real"}:
            raise ValueError(f"without translations segmenters learn from real volumes only, got {list(self.volumes)}.")

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> CardiacTranslation:
        """Translate there and back."""
        x_a, x_b, y_a, y_b = batch["ct"], batch["mr"], batch["ct_label"], batch["mr_label"]
        if not self.translate:
            return CardiacTranslation(x_a, x_b, y_a, y_b)
        g_a, g_b = nets["network"].g_mr_to_ct, nets["network"].g_ct_to_mr
        x_ba = g_a(x_b)
        x_ab, x_bab = _together(g_b, [x_a, x_ba])
        return CardiacTranslation(x_a, x_b, y_a, y_b, x_ab=x_ab, x_ba=x_ba, x_aba=g_a(x_ab), x_bab=x_bab)

    def generators(self, nets: Mapping[str, nn.Module], t: CardiacTranslation) -> dict[str, Tensor]:
        """L_GAN, L_cyc and L_shape of both generators (eq. 3); gradients pass through segmenters and discriminators."""
        fooled = least_squares_generator(nets["d_ct"](t.x_ba)) + least_squares_generator(nets["d_mr"](t.x_ab))
        terms = {
            "adversarial": fooled,
            "cycle": absolute_error(t.x_aba, t.x_a) + absolute_error(t.x_bab, t.x_b),  # eq. 1
        }
        if self.shape:
            s_a, s_b = nets["network"].s_ct, nets["network"].s_mr
            terms["shape"] = self._shape(t, "a", s_a, t.x_ba, t.y_b) + self._shape(t, "b", s_b, t.x_ab, t.y_a)  # eq. 2
        return terms

    def _shape(self, t: CardiacTranslation, name: str, segmenter: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy of a translation; the logits are kept for the segmenters, who learn from the same."""
        leaf = leaf_of(x)
        t.logits[name] = segmenter(leaf)
        return hand_on(voxel_cross_entropy(t.logits[name], y), leaf, x)

    def segmenters(self, nets: Mapping[str, nn.Module], t: CardiacTranslation) -> dict[str, Tensor]:
        """Cross-entropy of both segmenters on each kind of volumes (section 3.5), the generators held fixed."""
        in_a = {"real": (t.x_a, t.y_a), "synthetic": (t.x_ba, t.y_b), "reconstructed": (t.x_aba, t.y_a)}
        in_b = {"real": (t.x_b, t.y_b), "synthetic": (t.x_ab, t.y_a), "reconstructed": (t.x_bab, t.y_b)}
        net = nets["network"]
        losses_a = self._supervised(net.s_ct, in_a, t.logits.get("a"))
        losses_b = self._supervised(net.s_mr, in_b, t.logits.get("b"))
        return {kind: losses_a[kind] + losses_b[kind] for kind in self.volumes}

    def _supervised(
        self, segmenter: nn.Module, labelled: Mapping[str, tuple[Tensor, Tensor]], synthetic: Tensor | None
    ) -> dict[str, Tensor]:
        logits = {} if synthetic is None else {"synthetic": synthetic}
        new = [kind for kind in self.volumes if kind not in logits]
        logits |= zip(new, _together(segmenter, [labelled[kind][0].detach() for kind in new]), strict=True)
        return {kind: voxel_cross_entropy(logits[kind], labelled[kind][1]) for kind in self.volumes}

    def discriminators(self, nets: Mapping[str, nn.Module], t: CardiacTranslation) -> dict[str, Tensor]:
        """L_GAN of D_A and D_B (eq. 3), on translations from the pools."""
        x_ba, x_ab = self.pool_a.query(t.x_ba), self.pool_b.query(t.x_ab)  # detached there
        loss = least_squares_discriminator(nets["d_ct"](t.x_a), nets["d_ct"](x_ba))
        return {"adversarial": loss + least_squares_discriminator(nets["d_mr"](t.x_b), nets["d_mr"](x_ab))}

    def state_dict(self) -> dict[str, Any]:
        """The pools."""
        return {"pool_a": self.pool_a.state_dict(), "pool_b": self.pool_b.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the pools."""
        self.pool_a.load_state_dict(state["pool_a"])
        self.pool_b.load_state_dict(state["pool_b"])


def _together(network: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    """What a network makes of several batches, in one call where they are of one size and not too large."""
    sizes = {image.shape[1:] for image in images}
    if len(sizes) != 1 or max(size[1:].numel() for size in sizes) > BATCHED_VOXELS:
        return [network(image) for image in images]
    return list(network(torch.cat(list(images))).split([len(image) for image in images]))
