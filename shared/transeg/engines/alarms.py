"""Warnings during training about failures that the terms do not show."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor

from transeg.objectives.translations import translations_of

logger = logging.getLogger(__name__)

SAMPLE = 10_000  # voxels of a batch
ACTIVE = 0.01  # a unit is active if its mean has more than this variance over images (Burda et al. 2016)


class Alarm(ABC):
    """Looks at the translations of an epoch; with several processes, the first one at its own share of the batches."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_STARTED, self._begin)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._check)

    @abstractmethod
    def _begin(self, engine: Engine) -> None:
        """Forget the epoch before."""

    @abstractmethod
    def _collect(self, engine: Engine) -> None:
        """Take what is needed of an iteration, without waiting for its device."""

    @abstractmethod
    def _check(self, engine: Engine) -> None:
        """Warn at the end of the epoch."""


class CollapseAlarm(Alarm):
    """Warns at the end of an epoch if a code carries no information or a label map was nearly empty or full.

    A decoder that ignores its code (posterior collapse) shows in the number of active units, those whose mean varies
    over images. Writes ``active_units/<code>`` and ``area/<map>`` to ``state.metrics``.

    Args:
        codes: fields of the translation with the mean (B, K) and log variance of a code.
        maps: fields with the logits (B, K, *S) of label maps, or None for a batch that has none.
        least_units: warn below this number of active units.
        least_area: a map is empty if it covers a smaller fraction of the image on average.
        most_area: a map is full if it covers a larger fraction.
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

    def _begin(self, engine: Engine) -> None:
        self._means = {name: [] for name in self.codes}
        self._areas = {name: [] for name in self.maps}

    def _collect(self, engine: Engine) -> None:
        t = cast(dict[str, Any], engine.state.output)["translation"]
        for name, means in self._means.items():
            means.append(getattr(t, name)[0].float())
        for name, areas in self._areas.items():
            logits = getattr(t, name)
            if logits is not None:
                areas.append(torch.sigmoid(logits.float()).mean())

    def _check(self, engine: Engine) -> None:
        for name, means in self._means.items():
            variance = torch.cat(means).var(dim=0, correction=0)
            units = int((variance > ACTIVE).sum())
            engine.state.metrics[f"active_units/{name}"] = units
            if units < self.least_units:
                logger.warning(
                    "Epoch %d: %d of %d units of the code %s are active, so it carries no information (posterior "
                    "collapse); lower the KL weight.",
                    engine.state.epoch,
                    units,
                    len(variance),
                    name,
                )
        for name, areas in self._areas.items():
            if not areas:
                continue
            area = float(torch.stack(areas).mean())
            engine.state.metrics[f"area/{name}"] = area
            if not self.least_area <= area <= self.most_area:
                logger.warning(
                    "Epoch %d: the label map %s covers %.2g of the image on average; it is nearly %s. If this lasts, "
                    "the map has collapsed; start again with another seed.",
                    engine.state.epoch,
                    name,
                    area,
                    "empty" if area < self.least_area else "full",
                )


class RangeAlarm(Alarm):
    """Warns at the end of an epoch if the objective's translations do not reach the intensities of their domain.

    The last layer of a generator may have saturated: no loss shows it, since the discriminator sees a patch that is
    merely less bright.

    Args:
        percent: of the voxels of these images that lie beyond the intensities looked at, at either end.
        tolerance: part of the range between the two ends by which translations may miss them.
    """

    def __init__(self, percent: float = 1.0, tolerance: float = 0.05) -> None:
        self.percent, self.tolerance = percent, tolerance
        self._domains: dict[str, str] = {}
        self._ranges: dict[str, list[Tensor]] = {}

    def _begin(self, engine: Engine) -> None:
        self._ranges = {}
        self._domains = {made: way.domain for made, way in translations_of(cast(Any, engine).objective).items()}

    def _collect(self, engine: Engine) -> None:
        t = cast(dict[str, Any], engine.state.output)["translation"]
        for made, real in self._domains.items():
            found, expected = getattr(t, made, None), getattr(t, real, None)
            if found is not None and expected is not None and expected.numel():
                voxels = expected.float().flatten()[:: -(-expected.numel() // SAMPLE)].sort().values
                outer = round(self.percent / 100 * (len(voxels) - 1))
                ends = torch.stack([voxels[outer], voxels[-1 - outer]])
                self._ranges.setdefault(made, []).append(torch.stack([*found.float().aminmax(), *ends]))

    def _check(self, engine: Engine) -> None:
        for made, found in self._ranges.items():
            table = torch.stack(found)
            lowest, highest = float(table[:, 0].min()), float(table[:, 1].max())
            low, high = table[:, 2:].mean(dim=0).tolist()
            margin = self.tolerance * (high - low)
            for fault, bound, side in ((lowest > low + margin, low, "below"), (highest < high - margin, high, "above")):
                if fault:
                    logger.warning(
                        "Epoch %d: intensities of the translations %s lie between %.2f and %.2f, but %g %% of the "
                        "voxels of %s are %s %.2f. If this lasts, the generator has saturated; start again with "
                        "another seed.",
                        engine.state.epoch, made, lowest, highest, self.percent, self._domains[made], side, bound,
                    )  # fmt: skip
