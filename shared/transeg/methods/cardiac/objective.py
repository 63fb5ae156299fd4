"""Translation between two domains, such as CT and MR, and segmentation of both, each helping the other.

Zhang et al. 2018, "Translating and segmenting multimodal medical volumes with cycle- and shape-consistency generative
adversarial network". Symbols as in the paper: G_A: B -> A, G_B: A -> B, S_A and S_B segmenters; x_ab is x_A translated
to B, x_aba is it translated back.

The paper has a label for every volume. Here each loss that compares with labels is a mean over the labelled volumes of
the batch, and 0 without any. If no volume of B has a label, what remains is unsupervised domain adaptation: of eq. 2
CE(S_B(G_B(x_A)), y_A), and of section 3.5 S_A on (x_A, y_A) and (x_aba, y_A), S_B on (x_ab, y_A).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn

from transeg.errors import ConfigError
from transeg.losses.adversarial import least_squares_discriminator, least_squares_generator
from transeg.losses.reconstruction import absolute_error
from transeg.methods.cardiac.losses import voxel_cross_entropy
from transeg.methods.cardiac.networks import CardiacNet
from transeg.objectives.history_pool import HistoryPool
from transeg.objectives.translations import Way

VOLUMES = ("real", "synthetic", "reconstructed")
BATCHED_VOXELS = 2**19  # volumes above this size are no faster in a batch than one by one, and need more memory


class Labelled(NamedTuple):
    """Which volumes of a batch have a label, and the labels of these."""

    rows: Tensor  # (k,)
    y: Tensor  # (k, 1, *S)


@dataclass
class CardiacTranslation:
    """All that one iteration computes from n volumes of A and m of B; translations are None where disabled."""

    x_a: Tensor  # (n, C, *S)
    x_b: Tensor  # (m, C, *S)
    y_a: Tensor  # (n, 1, *S), 0 for background, then the regions; 0 without a label
    y_b: Tensor
    labelled_a: Labelled
    labelled_b: Labelled
    x_ab: Tensor | None = None  # G_B(x_A)
    x_ba: Tensor | None = None  # G_A(x_B)
    x_aba: Tensor | None = None  # G_A(G_B(x_A))
    x_bab: Tensor | None = None

    def translations(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x_ab, x_ba, x_aba and x_bab.

        Raises:
            ConfigError: they were not computed.
        """
        if self.x_ab is None or self.x_ba is None or self.x_aba is None or self.x_bab is None:
            raise ConfigError("generators and discriminators need translations; set the objective's translate to True.")
        return self.x_ab, self.x_ba, self.x_aba, self.x_bab


class CardiacObjective:
    """Equations 1 to 3, and the segmenters of section 3.5.

    Networks by name: ``network`` (`CardiacNet`), ``d_a``, ``d_b`` (discriminators of both domains). Batch: ``a`` x_A
    (n, C, *S) with ``a_label`` y_A (n, 1, *S), from 0 (background) to the number of regions, and ``a_labelled`` (n,)
    bool, whether it is known; ``b``, ``b_label``, ``b_labelled`` likewise; the two are unpaired. Players:
    ``generators``, then ``segmenters`` and ``discriminators``, which use detached translations and may play in any
    order.

    Args:
        shape: compute the shape-consistency loss (eq. 2). False is "G w/o SC".
        volumes: volumes the segmenters learn from: "real", "synthetic" and "reconstructed".
        translate: False omits the generators, for segmenters that learn from real volumes (the paper's baseline, and
            its pre-training) or from precomputed translations.
        pool_size: earlier translations kept for each discriminator.

    Raises:
        ConfigError: unknown volumes, or volumes that need translations while ``translate`` is False.
    """

    detached = frozenset({"segmenters", "discriminators"})
    translations: ClassVar[Mapping[str, Way]] = {"x_ab": Way("x_a", "x_b", "x_aba"), "x_ba": Way("x_b", "x_a", "x_bab")}

    def __init__(
        self, shape: bool = True, volumes: Sequence[str] = VOLUMES, translate: bool = True, pool_size: int = 50
    ) -> None:
        self.shape, self.volumes, self.translate = shape, tuple(volumes), translate
        self.check()
        self.pool_a, self.pool_b = HistoryPool(pool_size), HistoryPool(pool_size)

    def check(self) -> None:
        """Refuse incompatible arguments; `Phases` sets new ones."""
        if not self.volumes or not set(self.volumes) <= set(VOLUMES):
            raise ConfigError(f"volumes must be among {', '.join(VOLUMES)}, got {list(self.volumes)}.")
        if not self.translate and set(self.volumes) != {"real"}:
            raise ConfigError(f"without translations, volumes must be ['real'], got {list(self.volumes)}.")

    def forward(self, nets: Mapping[str, nn.Module], batch: Mapping[str, Tensor]) -> CardiacTranslation:
        """Translate to the other domain and back."""
        x_a, x_b, y_a, y_b = batch["a"], batch["b"], batch["a_label"], batch["b_label"]
        a, b = _labelled(y_a, batch["a_labelled"]), _labelled(y_b, batch["b_labelled"])
        if not self.translate:
            return CardiacTranslation(x_a, x_b, y_a, y_b, a, b)
        net = cast(CardiacNet, nets["network"])
        x_ba = net.g_a(x_b)
        x_ab, x_bab = _together(net.g_b, [x_a, x_ba])
        return CardiacTranslation(x_a, x_b, y_a, y_b, a, b, x_ab=x_ab, x_ba=x_ba, x_aba=net.g_a(x_ab), x_bab=x_bab)

    def generators(self, nets: Mapping[str, nn.Module], t: CardiacTranslation) -> dict[str, Tensor]:
        """L_GAN, L_cyc and L_shape of both generators (eq. 3); gradients pass through segmenters and discriminators."""
        net, d_a, d_b = cast(CardiacNet, nets["network"]), nets["d_a"], nets["d_b"]
        x_ab, x_ba, x_aba, x_bab = t.translations()
        terms = {
            "adversarial": least_squares_generator(d_a(x_ba)) + least_squares_generator(d_b(x_ab)),
            "cycle": absolute_error(x_aba, t.x_a) + absolute_error(x_bab, t.x_b),  # eq. 1
        }
        if self.shape:  # eq. 2
            terms["shape"] = _cross_entropy(net.s_a, x_ba, t.labelled_b) + _cross_entropy(net.s_b, x_ab, t.labelled_a)
        return terms

    def segmenters(self, nets: Mapping[str, nn.Module], t: CardiacTranslation) -> dict[str, Tensor]:
        """Cross-entropy of both segmenters on each kind of volume (section 3.5), with the generators fixed."""
        net, a, b = cast(CardiacNet, nets["network"]), t.labelled_a, t.labelled_b
        losses_a = self._supervised(
            net.s_a, {"real": (t.x_a, a), "synthetic": (t.x_ba, b), "reconstructed": (t.x_aba, a)}
        )
        losses_b = self._supervised(
            net.s_b, {"real": (t.x_b, b), "synthetic": (t.x_ab, a), "reconstructed": (t.x_bab, b)}
        )
        return {kind: losses_a[kind] + losses_b[kind] for kind in self.volumes}

    def _supervised(
        self, segmenter: nn.Module, volumes: Mapping[str, tuple[Tensor | None, Labelled]]
    ) -> dict[str, Tensor]:
        pairs = [volumes[kind] for kind in self.volumes]
        chosen = [(x.detach()[known.rows], known.y) for x, known in pairs if x is not None]
        logits = _together(segmenter, [x for x, _ in chosen])
        losses = [voxel_cross_entropy(u, y) for u, (_, y) in zip(logits, chosen, strict=True)]
        return dict(zip(self.volumes, losses, strict=True))

    def discriminators(self, nets: Mapping[str, nn.Module], t: CardiacTranslation) -> dict[str, Tensor]:
        """L_GAN of D_A and D_B (eq. 3), on translations from the pools."""
        d_a, d_b = nets["d_a"], nets["d_b"]
        x_ab, x_ba, *_ = t.translations()
        x_ba, x_ab = self.pool_a.query(x_ba), self.pool_b.query(x_ab)  # detached there
        loss_a = least_squares_discriminator(d_a(t.x_a), d_a(x_ba))
        return {"adversarial": loss_a + least_squares_discriminator(d_b(t.x_b), d_b(x_ab))}

    def state_dict(self) -> dict[str, Any]:
        """The pools."""
        return {"pool_a": self.pool_a.state_dict(), "pool_b": self.pool_b.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the pools."""
        self.pool_a.load_state_dict(state["pool_a"])
        self.pool_b.load_state_dict(state["pool_b"])


def _labelled(label: Tensor, known: Tensor) -> Labelled:
    rows = known.nonzero().flatten()
    return Labelled(rows, label[rows])


def _cross_entropy(segmenter: nn.Module, x: Tensor, known: Labelled) -> Tensor:
    """Cross-entropy of the volumes that have a label, which may be those that they are translated from."""
    [logits] = _together(segmenter, [x[known.rows]])
    return voxel_cross_entropy(logits, known.y)


def _together(network: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    """Outputs of a network for several batches; one call if their volumes have the same size and are small.

    Batches without a volume come back as they are.
    """
    filled = [image for image in images if len(image)]
    sizes = {image.shape[1:] for image in filled}
    if len(sizes) != 1 or max(size[1:].numel() for size in sizes) > BATCHED_VOXELS:
        return [network(image) if len(image) else image for image in images]
    outputs = iter(network(torch.cat(filled)).split([len(image) for image in filled]))
    return [next(outputs) if len(image) else image for image in images]
