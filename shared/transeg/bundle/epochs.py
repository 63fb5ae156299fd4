"""Which epoch to keep where no label tells: criteria of each validation that need none, and a recommendation."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.config import PathLike
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.tensorboard import SummaryWriter

from transeg.bundle.runs import WEIGHTS
from transeg.data.datasets import PairedDataset, SliceDataset, held_out_pairs
from transeg.engines.tracking import PREFIX
from transeg.engines.trainer import AlternatingTrainer
from transeg.engines.tree import to_device
from transeg.engines.weights import save_weights
from transeg.files import atomic, write_csv
from transeg.metrics.label_free import mean_ranks, patch_distance, undominated
from transeg.objectives.translations import translations_of

logger = logging.getLogger(__name__)

CYCLE, DISTANCE = "cycle", "distance"  # decide, lower is better
CHANGE, VARIETY = "change", "variety"  # raise an alarm
LEAST = {CHANGE: 0.01, VARIETY: 0.1}
ALARMS = {CHANGE: "translations are nearly their inputs", VARIETY: "translations of different scans are nearly alike"}
PAIRS = {2: 16, 3: 4}  # that are translated, by the dimensions of the images
TABLE, FOLDER = "epochs.csv", "epochs"

Row = dict[str, float]  # of the table; epoch and phase are integers


class EpochRecommendation:
    """Recommends an epoch by criteria that need no labels, and on demand keeps its weights.

    With every validation, a few pairs of scans, held-out ones where there are any, are translated there and back. In
    `state.metrics`, TensorBoard and `epochs.csv` (beside the scores of validation):

    - ``label_free/cycle``: mean absolute error of the way there and back;
    - ``label_free/distance``: `patch_distance` of the translations to the scans of their domain;
    - ``label_free/change``: mean absolute difference between translations and their inputs, as a part of the standard
      deviation of the latter;
    - ``label_free/variety``: standard deviation of the translations over scans, as a part of that of their inputs.

    All are means over the directions. An epoch whose change or variety is below a limit raises an alarm. Recommended is
    the epoch with the least mean rank in cycle and distance of those without an alarm (of all if every one has one)
    and, as for `BestModelSaver`, of the last phase of the training run; of equal ones the last. The trainer's
    `recommendation` says so in a sentence. The first process does all of this; the training run itself does not change.

    Args:
        path: the run folder; `epochs.csv` is in its `logs`.
        validator: has the held-out scans, scores that are written as well, and the network whose weights are exported.
        interval: epochs between comparisons; 0: none.
        keep: save the weights of the recommended epoch. Those of every epoch that may still be recommended are in
            `logs/epochs`.
    """

    def __init__(self, path: PathLike, validator: SupervisedEvaluator, interval: int = 1, keep: bool = False) -> None:
        self.path, self.log_dir, self.validator = Path(path), Path(path) / "logs", validator
        self.interval, self.keep = interval, keep
        self.rows: list[Row] = []
        self._batches: list[Mapping[str, Any]] = []
        self._writer: SummaryWriter | None = None

    def attach(self, engine: AlternatingTrainer) -> None:
        """Register with a trainer."""
        if idist.get_rank() == 0 and self.interval and translations_of(engine.objective):
            engine.add_event_handler(Events.EPOCH_STARTED, self._forget)
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval), self)
            engine.add_event_handler(Events.COMPLETED, self._finish)

    def _forget(self, engine: AlternatingTrainer) -> None:
        """Remove the criteria of an earlier epoch, which are not those of every epoch."""
        for name in [name for name in engine.state.metrics if name.startswith(PREFIX)]:
            del engine.state.metrics[name]

    def __call__(self, engine: AlternatingTrainer) -> None:
        """Compare the epoch with those before."""
        if not self.rows:  # a new run has no table, only one that goes on
            self.rows = read_epochs(self.log_dir / TABLE)
        criteria = self._criteria(engine)
        if not criteria:
            return
        row = {"epoch": engine.state.epoch, "phase": engine.phase, **criteria, **self.validator.state.metrics}
        self.rows = [*(known for known in self.rows if known["epoch"] < engine.state.epoch), row]
        write_csv(self.log_dir / TABLE, list(dict.fromkeys(name for known in self.rows for name in known)), self.rows)
        self._log(engine, criteria)
        if self.keep:
            self._keep(engine.state.epoch)

    def _criteria(self, engine: AlternatingTrainer) -> Row:
        """The criteria of the present weights, without an effect on the random numbers of the training run."""
        device = torch.device(engine.state.device)
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            if not self._batches:
                self._batches = self._load(cast(Any, engine.data_loader).dataset)
            networks = dict(engine.networks)
            for average, source in engine.averages.items():
                networks[source] = engine.networks[average].module  # type: ignore[assignment]  # of an AveragedModel
            for network in networks.values():  # the trainer sets them to training in every iteration
                network.eval()
            found = [engine.objective.forward(networks, to_device(batch, device)) for batch in self._batches]
            fields = [(made, *way) for made, way in translations_of(engine.objective).items()]
            ways = [[_joined(found, field) for field in own] for own in fields]
            values = [translation_criteria(*way) for way in ways if all(way)]
        return {name: float(np.mean([value[name] for value in values])) for name in values[0]} if values else {}

    def _load(self, dataset: PairedDataset) -> list[Mapping[str, Any]]:
        """Pairs one by one, as volumes may differ in size."""
        held_out = cast(SliceDataset, cast(DataLoader, self.validator.data_loader).dataset)
        number = PAIRS[held_out.transform(dict(dataset.data[0]))["image"].ndim - 1]
        pairs = held_out_pairs(dataset, held_out.items, held_out.transform, number)
        return list(DataLoader(cast(Dataset, pairs)))

    def _log(self, engine: AlternatingTrainer, criteria: Row) -> None:
        named = {f"{PREFIX}{name}": value for name, value in criteria.items()}
        engine.state.metrics.update(named)
        self._writer = self._writer or SummaryWriter(self.log_dir)
        for name, value in named.items():
            self._writer.add_scalar(name, value, engine.state.epoch)
        self._writer.flush()  # never closed: federated rounds start the same trainer repeatedly
        logger.info("Epoch %d: %s", engine.state.epoch, ", ".join(f"{name} {v:.4g}" for name, v in named.items()))
        for name in alarms(criteria):
            logger.warning(
                "Epoch %d: %s (%s %.2g). If this lasts, start again with another seed.",
                engine.state.epoch, ALARMS[name], name, criteria[name],
            )  # fmt: skip

    def _keep(self, epoch: int) -> None:
        """Save the weights of the epoch, and remove those of epochs that cannot be recommended any more."""
        folder = self.log_dir / FOLDER
        save_weights(self.validator.network, folder / f"{epoch:04d}.pt")
        rows = candidates(self.rows)
        possible = undominated([_deciding(row) for row in rows])
        kept = {f"{row['epoch']:04d}.pt" for row, is_possible in zip(rows, possible, strict=True) if is_possible}
        for path in folder.glob("*.pt"):
            if path.name not in kept:
                path.unlink()
        best = folder / f"{recommended(rows)['epoch']:04d}.pt"
        if best.is_file():  # not where the table of a resumed run is older than its request to keep weights
            with atomic(self.path / WEIGHTS) as partial:
                shutil.copyfile(best, partial)

    def _finish(self, engine: AlternatingTrainer) -> None:
        if not self.rows:
            return
        engine.recommendation = explain(self.rows)
        logger.info("%s", engine.recommendation)


def _joined(found: Sequence[Any], field: str) -> list[Tensor]:
    """Images (C, *S) of a field of several results; empty where the field is None or missing."""
    parts = [getattr(one, field, None) for one in found]
    return [image.float() for part in parts if part is not None for image in part]


def translation_criteria(
    made: Sequence[Tensor], source: Sequence[Tensor], domain: Sequence[Tensor], back: Sequence[Tensor]
) -> Row:
    """Cycle, distance, change and variety of one direction, see `EpochRecommendation`.

    Args:
        made: translations (C, *S).
        source: their inputs (C, *S); where there are more translations, they are used repeatedly.
        domain: scans of the domain of the translations (C, *S).
        back: the translations translated back (C, *S).
    """
    inputs = [source[k % len(source)] for k in range(len(made))]
    spread = torch.stack([image.std() for image in inputs]).mean()
    change = torch.stack([(y - x).abs().mean() for y, x in zip(made, inputs, strict=True)]).mean()
    variety = _variety(source)
    error = torch.stack([(z - inputs[k % len(inputs)]).abs().mean() for k, z in enumerate(back)]).mean()
    return {
        CYCLE: float(error),
        DISTANCE: patch_distance(made, domain),
        CHANGE: float(change / spread),
        VARIETY: _variety(made) / variety if variety else 1.0,  # inputs that are all alike
    }


def _variety(images: Sequence[Tensor]) -> float:
    """Standard deviation over images, mean over voxels; of images of one size, of which there are several."""
    if len({image.shape for image in images}) != 1 or len(images) == 1:
        return 1.0
    return float(torch.stack(list(images)).std(dim=0).mean())


def alarms(row: Mapping[str, float]) -> list[str]:
    """Names of the criteria of an epoch that raise an alarm."""
    return [name for name, least in LEAST.items() if row[name] < least]


def candidates(rows: Sequence[Row]) -> list[Row]:
    """Epochs of the last phase without an alarm, or all of that phase if every one has one."""
    phase = [row for row in rows if row["phase"] == rows[-1]["phase"]]
    return [row for row in phase if not alarms(row)] or phase


def recommended(rows: Sequence[Row]) -> Row:
    """The candidate with the least mean rank; of equal ones the last."""
    chosen = candidates(rows)
    ranks = mean_ranks([_deciding(row) for row in chosen])
    return chosen[int(np.flatnonzero(ranks == ranks.min())[-1])]


def _deciding(row: Row) -> Row:
    return {name: row[name] for name in (CYCLE, DISTANCE)}


def explain(rows: Sequence[Row]) -> str:
    """The recommended epoch and its reason, in a sentence."""
    best, compared = recommended(rows), candidates(rows)
    parts = []
    for name in (CYCLE, DISTANCE):
        rank = 1 + sum(row[name] < best[name] for row in compared)
        parts.append(f"{name} {best[name]:.3g}, rank {rank}")
    alarmed = sum(bool(alarms(row)) for row in rows)
    left = f"; {alarmed} of all {len(rows)} raised an alarm" if alarmed else ""
    return (
        f"Epoch {best['epoch']} is recommended without labels: least mean rank of {len(compared)} epochs "
        f"({'; '.join(parts)}){left}."
    )


def read_epochs(path: Path) -> list[Row]:
    """Rows of `epochs.csv`; empty cells are left out. None without the file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)]
    return [row | {name: int(row[name]) for name in ("epoch", "phase")} for row in rows]
