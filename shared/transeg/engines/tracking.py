"""MLflow in a local file: every term, metric and setting of a training run.

The handlers that a bundle's `tracking.json` adds with `--tracking`. One run per folder, in its `mlruns.db`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine
from monai.config import PathLike
from monai.handlers import MLFlowHandler
from monai.utils import path_to_sqlite_uri

from transeg.errors import ConfigError

PREFIX = "label_free/"  # of the metrics of an epoch, see `transeg.bundle.epochs`
NEEDED = ("mlflow", "sqlalchemy", "alembic")  # that a local file needs


class _Untracked:
    """Handler of the processes other than the first."""

    def attach(self, engine: Engine) -> None:
        pass


def track_training(output_dir: PathLike, settings: Mapping[str, Any]) -> MLFlowHandler | _Untracked:
    """Track each term ("player/term") and the loss at each iteration, label-free criteria, and the settings.

    Args:
        output_dir: folder for the file; its name becomes the name of the run.
        settings: name to value, logged as text.
    """

    def values(output: Mapping[str, Any]) -> dict[str, Any]:
        return {"loss": output["loss"], **output["terms"]}

    tracker = _tracker(output_dir, close_on_complete=True, output_transform=values, experiment_param=dict(settings))

    def log_epoch(engine: Engine) -> None:  # not the means of the terms, which have the names of those
        found = {name: value for name, value in engine.state.metrics.items() if name.startswith(PREFIX)}
        if found and isinstance(tracker, MLFlowHandler):
            tracker._log_metrics(found, step=engine.state.epoch)

    if isinstance(tracker, MLFlowHandler):
        tracker.epoch_logger = log_epoch
    return tracker


def track_validation(output_dir: PathLike) -> MLFlowHandler | _Untracked:
    """Track the metrics of each validation in the same run; arguments as for `track_training`."""
    return _tracker(output_dir, iteration_log=False)


def _tracker(output_dir: PathLike, **options: Any) -> MLFlowHandler | _Untracked:
    if idist.get_rank() > 0:
        return _Untracked()
    if not all(map(find_spec, NEEDED)):
        raise ConfigError("tracking needs MLflow: pip install -c constraints.txt -e '.[mlflow]'")
    folder = Path(output_dir).absolute()
    return MLFlowHandler(tracking_uri=path_to_sqlite_uri(str(folder / "mlruns.db")), run_name=folder.name, **options)
