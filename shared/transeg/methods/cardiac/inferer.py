"""Inference with one segmenter per domain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from monai.data import MetaTensor
from monai.utils import ensure_tuple

from transeg.inferers.tiled import TiledInferer
from transeg.methods.cardiac.domains import DOMAIN
from transeg.methods.cardiac.networks import CardiacNet


class DomainInferer(TiledInferer):
    """Segment a volume by the domain in its meta data, in tiles if needed.

    Called as `inferer(volume, network)` with a `CardiacNet`: (B, C, *S), from `cardiac_preprocessing`, -> logits
    (B, classes, *S). Called with a method of the network, it behaves like `TiledInferer`.
    """

    def __call__(self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the segmenter of the domain, or the given method.

        Raises:
            ValueError: no domain in the meta data, or several in one batch.
        """
        if isinstance(network, torch.nn.Module):
            noted = ensure_tuple(inputs.meta.get(DOMAIN, ())) if isinstance(inputs, MetaTensor) else ()
            if len(set(noted)) != 1:
                raise ValueError(f"expected volumes of one domain, got {sorted(set(noted))} in their meta data")
            return super().__call__(inputs, cast(CardiacNet, network).segment, noted[0], *args, **kwargs)
        return super().__call__(inputs, network, *args, **kwargs)
