"""Handlers: log and panels of the trainer, which rank 0 alone writes, and what an evaluator hands on to its metrics."""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from monai.engines import IterationEvents
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from transeg.files import write_text

logger = logging.getLogger(__name__)


class TermLogger:
    """Logs each term by name: TensorBoard scalars, ``terms.jsonl``, epoch means to the Python log, a progress bar.

    Also writes the means to ``state.metrics``, for later handlers (`MLFlowHandler`). With several processes, the first
    one logs its own values: those of its share of the batch, except for pooled losses such as soft Dice. A resumed run
    continues the same files and drops the entries of an interrupted epoch, as neither MONAI's `TensorBoardStatsHandler`
    nor its `MetricLogger` does.

    Args:
        log_dir: folder for the TensorBoard events and ``terms.jsonl``.
        interval: iterations between entries; the means are over all iterations.
        progress: show a progress bar with the loss.
    """

    def __init__(self, log_dir: str | os.PathLike, interval: int = 1, progress: bool = True) -> None:
        self.log_dir, self.interval, self.progress = Path(log_dir), interval, progress
        self._files: _TermFiles | None = None
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if idist.get_rank() > 0:
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._begin_epoch)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._log)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.COMPLETED, self._close)
        if self.progress:
            bar = ProgressBar(persist=False, disable=None)  # in a terminal only
            bar.attach(engine, output_transform=lambda output: {"loss": float(output["loss"])})

    def _begin_epoch(self, engine: Engine) -> None:
        self._sums.clear()
        self._count = 0
        if self._files is None:  # not earlier: a checkpoint may have set the iteration
            self._files = _TermFiles(self.log_dir, engine.state.iteration)

    def _log(self, engine: Engine) -> None:
        output = cast(dict[str, Any], engine.state.output)
        values = {"loss": float(output["loss"]), **{name: float(v) for name, v in output["terms"].items()}}
        for name, value in values.items():
            self._sums[name] += value
        self._count += 1
        if self._files is not None and engine.state.iteration % self.interval == 0:
            self._files.write(engine.state.epoch, engine.state.iteration, values)

    def _end_epoch(self, engine: Engine) -> None:
        means = {name: total / self._count for name, total in self._sums.items()}
        engine.state.metrics.update(means)
        listed = ", ".join(f"{name} {mean:.4g}" for name, mean in means.items())
        logger.info("Epoch %d of %d: %s", engine.state.epoch, engine.state.max_epochs, listed)

    def _close(self, engine: Engine) -> None:
        if self._files is not None:
            self._files.close()
            self._files = None


class _TermFiles:
    """``terms.jsonl`` and TensorBoard events in a folder, continued after an iteration."""

    def __init__(self, folder: Path, iteration: int) -> None:
        path = folder / "terms.jsonl"
        write_text(path, "".join(_rows_until(path, iteration)))
        self._rows = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (closed at the end of the run)
        self._events = SummaryWriter(folder, purge_step=iteration + 1, flush_secs=10)

    def write(self, epoch: int, iteration: int, values: Mapping[str, float]) -> None:
        self._rows.write(json.dumps({"epoch": epoch, "iteration": iteration, **values}) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name, value, iteration)

    def close(self) -> None:
        self._rows.close()
        self._events.close()


def _rows_until(path: Path, iteration: int) -> list[str]:
    """Complete rows of a log up to an iteration; a killed process may have left an incomplete one."""
    kept = []
    for row in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []:
        if row.endswith("}\n") and json.loads(row)["iteration"] <= iteration:
            kept.append(row)
    return kept


class PanelSaver:
    """Saves a panel of the last output every ``interval_epochs`` epochs, as ``epoch_0001.png`` and in TensorBoard.

    MONAI's `TensorBoardImageHandler` writes no files, and one image per key instead of a panel.

    Args:
        output_dir: folder for the images.
        render: ``engine.state.output -> uint8 array (H, W, 3)``.
        interval_epochs: epochs between panels.
        log_dir: folder for TensorBoard, or None.
    """

    def __init__(
        self,
        output_dir: str | os.PathLike,
        render: Callable[[Any], np.ndarray],
        interval_epochs: int = 1,
        log_dir: str | os.PathLike | None = None,
    ) -> None:
        self.output_dir, self.render = Path(output_dir), render
        self.interval_epochs, self.log_dir = interval_epochs, log_dir
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Register with a trainer or evaluator."""
        if idist.get_rank() == 0:
            engine.add_event_handler(Events.EPOCH_COMPLETED(every=self.interval_epochs), self._save)

    def _save(self, engine: Engine) -> None:
        panel = self.render(engine.state.output)
        if panel.dtype != np.uint8 or panel.ndim != 3 or panel.shape[-1] != 3:
            raise ValueError(f"PanelSaver: render must return uint8 (H, W, 3), got {panel.dtype} {panel.shape}.")
        self.output_dir.mkdir(parents=True, exist_ok=True)
        Image.fromarray(panel).save(self.output_dir / f"epoch_{engine.state.epoch:04d}.png")
        if self.log_dir is not None:
            self._writer = self._writer or SummaryWriter(self.log_dir)
            self._writer.add_image("panel", panel, engine.state.epoch, dataformats="HWC")
            self._writer.flush()  # never closed: an evaluator runs repeatedly


class CarryFields:
    """Copies fields of an evaluator's batch to its output, for the metrics, which see no more than that.

    Args:
        fields: keys; those that the batch lacks are left out.
    """

    def __init__(self, fields: Sequence[str]) -> None:
        self.fields = tuple(fields)

    def attach(self, engine: Engine) -> None:
        """Register with an evaluator."""
        engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Copy, before batch and output are taken apart."""
        batch, output = cast(Mapping[str, Any], engine.state.batch), cast(dict[str, Any], engine.state.output)
        output.update({key: batch[key] for key in self.fields if key in batch})
