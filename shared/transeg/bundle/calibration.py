"""What the scans of a training run set in its `inference.json` once its weights are saved."""

from __future__ import annotations

import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.config import PathLike

from transeg.errors import UserError, reason, root_cause
from transeg.files import write_text

logger = logging.getLogger(__name__)


def inference_config(root: PathLike) -> Path:
    """The inference config of a bundle or run folder."""
    return Path(root) / "configs" / "inference.json"


def set_inference(root: PathLike, values: Mapping[str, Any]) -> None:
    """Set values of the inference config of a bundle or run folder."""
    path = inference_config(root)
    config = json.loads(path.read_text()) | dict(values)
    write_text(path, json.dumps(config, indent=4, ensure_ascii=False) + "\n")


def inference_of(
    root: PathLike, items: Sequence[Mapping[str, Any]], folder: PathLike, settings: Mapping[str, Any]
) -> Engine:
    """Evaluator that applies the weights of a bundle or run folder to scans and saves nothing but what is set.

    Args:
        root: the folder.
        items: scans, see `find_volumes`; those that fail are left out.
        folder: for its results.
        settings: of the config, by key.
    """
    path = inference_config(root)
    config = json.loads(path.read_text())
    parser = ConfigParser()
    parser.read_config(str(path))
    quiet = {key: False for key, value in config.items() if key.startswith("save_") and isinstance(value, bool)}
    handlers = [handler for handler in config["handlers"] if not handler["_target_"].endswith(".ReportFailures")]
    listed = tuple(dict(item) for item in items)  # in a list, MONAI would read the # of a reference as a separator
    places = {"bundle_root": str(root), "output_dir": str(folder)}
    parser.update({**quiet, "handlers": handlers, "datalist": listed, **places, **settings})
    return parser.get_parsed_content("evaluator")


class Calibration(ABC):
    """At the end of a training run, set something by its scans; a failure is told and does no harm to the run.

    Args:
        path: the run folder.
        datalist: of the prepared data.
    """

    def __init__(self, path: PathLike, datalist: PathLike) -> None:
        self.path, self.datalist = Path(path), Path(datalist)

    @abstractmethod
    def calibrate(self) -> str:
        """Do it, and say in a sentence what was set."""

    @abstractmethod
    def without(self, why: str) -> str:
        """Say what the run folder lacks if it failed."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._begin)

    def _begin(self, engine: Engine) -> None:
        if not engine.has_event_handler(self, Events.COMPLETED):
            engine.add_event_handler(Events.COMPLETED, self)  # only now, to come after the weights are saved

    def __call__(self, engine: Engine) -> None:
        """Calibrate."""
        try:
            if idist.get_world_size() > 1:
                raise UserError("several processes")
            logger.info(self.calibrate())
        except Exception as error:
            cause = root_cause(error)
            logger.warning(self.without(reason(cause)), exc_info=None if isinstance(cause, UserError) else cause)
