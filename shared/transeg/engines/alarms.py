"""Warnings while a training still runs about what its terms do not show."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

logger = logging.getLogger(__name__)

ACTIVE = 0.01  # variance of a code's mean over images from which a unit counts as active (Burda et al. 2016)


class CollapseAlarm:
    """Warns at the end of an epoch whose codes carry nothing, or whose label maps were all but empty or full.

    A decoder that ignores its code (posterior collapse) shows in the number of active units: those whose mean varies
    over images. The figures are put in ``state.metrics`` as ``active_units/<code>`` and ``area/<map>``. Of several
    processes the first one looks at its own share.

    Args:
        codes: fields of the translation that hold mean (B, K) and log variance of a code.
        maps: fields that hold the logits (B, 1, *S) of a label map.
        least_units: active units below which to warn.
        least_area: mean share of the image below which a map counts as empty.
        most_area: above which it counts as full.
    """

    def __init__(
        self,
        codes: Sequence[str] = (),
        maps: Sequence[str] = (),
        least_units: int = 1,
        least_area: float = 1e-4,
        most_area: float = 0.5,
    ) -> None:
        self.codes, self.maps = list(codes), list(maps)
        self.least_units, self.least_area, self.most_area = least_units, least_area, most_area
        self._means: dict[str, list[Tensor]] = {}
        self._areas: dict[str, list[Tensor]] = {}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._judge)

    def _begin(self, engine: Engine) -> None:
        self._means = {name: [] for name in self.codes}
        self._areas = {name: [] for name in self.maps}

    def _look(self, engine: Engine) -> None:
        t = engine.state.output["translation"]
        for name, means in self._means.items():
            means.append(getattr(t, name)[0].float())
        for name, areas in self._areas.items():
            areas.append(torch.sigmoid(getattr(t, name).float()).mean())

    def _judge(self, engine: Engine) -> None:
        for name, means in self._means.items():
            variance = torch.cat(means).var(dim=0, correction=0)
            units = int((variance > ACTIVE).sum())
            engine.state.metrics[f"active_units/{name}"] = units
            if units < self.least_units:
                logger.warning(
                    "Epoch %d: %d of %d units of the code %s are active, so nothing is drawn from it (posterior "
                    "collapse); lower the weight of its divergence.",
                    engine.state.epoch,
                    units,
                    len(variance),
                    name,
                )
        for name, areas in self._areas.items():
            area = float(torch.stack(areas).mean())
            engine.state.metrics[f"area/{name}"] = area
            if not self.least_area <= area <= self.most_area:
                logger.warning(
                    "Epoch %d: the label map %s covers %.2g of the image on average, so it is all but %s.",
                    engine.state.epoch,
                    name,
                    area,
                    "empty" if area < self.least_area else "full",
                )
