"""Limits of the trust report for the weights of a bundle or run folder, kept in its `inference.json`."""

from __future__ import annotations

import csv
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import ignite.distributed as idist
import typer
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.config import PathLike

from transeg.data.datalist import load_list, read_json
from transeg.data.volumes import find_volumes
from transeg.errors import UserError, reason, root_cause
from transeg.files import RUN, write_text
from transeg.metrics.trust import FEWEST, TrustLimits, calibrate

logger = logging.getLogger(__name__)

SCANS = 64  # enough for false alarms in 1.5 % of scans
LISTS = ("training_volumes", "validation_volumes")


def trust(
    root: Annotated[Path, typer.Argument(help="Bundle or run folder with weights.")],
    data: Annotated[Path, typer.Option(help="Scans of the usual kind: folder, table or prepared data.")],
    scans: Annotated[int, typer.Option(help="Number of scans to use, evenly spread.", min=FEWEST)] = SCANS,
) -> None:
    """Set the limits of the trust report by scans that are known to be fine."""
    recipe = json.loads(_config(root).read_text())["recipe"]
    items = find_volumes(data, recipe["channels"], LISTS, recipe.get("spacing"))
    limits = calibrate_trust(root, items, scans)
    typer.echo(f"{_config(root)}: false alarms in {limits.rate:.1%} of such scans; limits {asdict(limits)}")


def calibrate_trust(root: PathLike, items: Sequence[Mapping[str, Any]], scans: int = SCANS) -> TrustLimits:
    """Segment scans with the weights of a bundle or run folder and write the limits to its inference.json.

    Args:
        root: the folder.
        items: scans, see `find_volumes`; those that fail are left out.
        scans: number of them to use, evenly spread.

    Raises:
        UserError: its inference makes no trust report, too few scans, or none that it can segment.
    """
    path = _config(Path(root))
    config = json.loads(path.read_text())
    if not config.get("save_reports") or "trust" not in config:
        raise UserError(f"{path}: its inference writes no trust report")
    if len(items) < FEWEST:
        raise UserError(f"{len(items)} scans to calibrate on; at least {FEWEST} are needed")
    limits = calibrate(_values(path, config, [dict(item) for item in items[:: -(-len(items) // scans)]]))
    write_text(path, json.dumps(config | {"trust": asdict(limits)}, indent=4, ensure_ascii=False) + "\n")
    return limits


def _values(path: Path, config: Mapping[str, Any], items: list[dict[str, Any]]) -> list[dict[str, float]]:
    parser = ConfigParser()
    parser.read_config(str(path))
    quiet = {key: False for key, value in config.items() if key.startswith("save_") and isinstance(value, bool)}
    handlers = [handler for handler in config["handlers"] if not handler["_target_"].endswith(".ReportFailures")]
    with tempfile.TemporaryDirectory() as folder:
        listed = tuple(items)  # in a list, MONAI would read the # of a reference as a separator
        settings = {"save_reports": True, "trust": None, "handlers": handlers, "datalist": listed}
        places = {"bundle_root": str(path.parents[1]), "output_dir": folder}
        parser.update({**quiet, **settings, **places})
        parser.get_parsed_content("evaluator").run()
        report = Path(folder) / "trust.csv"
        if not report.is_file():
            raise UserError(f"none of the {len(items)} scans can be segmented; the log says why")
        with report.open(newline="") as file:
            rows = list(csv.DictReader(file))
    texts = ("case", "flagged", "sentence", RUN)
    return [{name: float(value) for name, value in row.items() if name not in texts} for row in rows]


def _config(root: Path) -> Path:
    return root / "configs" / "inference.json"


class TrustCalibration:
    """At the end of a training run, set the limits of its trust report by its training and validation scans.

    Args:
        path: the run folder.
        datalist: of the prepared data; without one, or with too few scans, nothing will be flagged.
        scans: number of scans to use; 0: none.
    """

    def __init__(self, path: PathLike, datalist: PathLike, scans: int = SCANS) -> None:
        self.path, self.datalist, self.scans = Path(path), Path(datalist), scans

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._begin)

    def _begin(self, engine: Engine) -> None:
        if self.scans and not engine.has_event_handler(self, Events.COMPLETED):
            engine.add_event_handler(Events.COMPLETED, self)  # only now, to come after the weights are saved

    def __call__(self, engine: Engine) -> None:
        """Calibrate; a failure is told and does no harm to the run."""
        try:
            if idist.get_world_size() > 1:
                raise UserError("several processes")
            items = self._items()
            limits = calibrate_trust(self.path, items, self.scans)
        except Exception as error:
            cause = root_cause(error)
            logger.warning(
                "The trust report will flag no scan (%s); to calibrate it: transeg trust %s --data SCANS",
                reason(cause), self.path, exc_info=None if isinstance(cause, UserError) else cause,
            )  # fmt: skip
            return
        logger.info("Trust report calibrated on %d scans: false alarms in %.1f %%.", limits.scans, 100 * limits.rate)

    def _items(self) -> list[dict[str, Any]]:
        if not self.datalist.is_file():
            return []
        content = read_json(self.datalist)
        return [item for key in LISTS if key in content for item in load_list(self.datalist, content, key)]
