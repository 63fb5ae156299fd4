"""Inference by modality: CT and MR have a segmenter each."""

from __future__ import annotations

import torch
from monai.data import MetaTensor
from monai.utils import ensure_tuple

from transeg.inferers.tiled import TiledInferer
from transeg.methods.cardiac.modality import MODALITY


class ModalityInferer(TiledInferer):
    """Segment a volume as the modality that its meta data tell, in tiles where needed.

    Called as `inferer(volume, network)`, the network a `CardiacNet`: (B, C, *S), from `cardiac_preprocessing`, ->
    logits (B, classes, *S). With a method of the network it is a `TiledInferer`.
    """

    def __call__(self, inputs: torch.Tensor, network, *args, **kwargs):
        """Run the segmenter of the modality, or the method.

        Raises:
            ValueError: a network, but no modality in the meta data, or several in one batch.
        """
        if isinstance(network, torch.nn.Module):
            noted = ensure_tuple(inputs.meta.get(MODALITY, ())) if isinstance(inputs, MetaTensor) else ()
            if len(set(noted)) != 1:
                raise ValueError(f"volumes of one modality are needed, their meta data tell {sorted(set(noted))}")
            network, args = network.segment, (noted[0], *args)
        return super().__call__(inputs, network, *args, **kwargs)
