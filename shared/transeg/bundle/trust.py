"""Limits of the trust report for the weights of a bundle or run folder, kept in its `inference.json`."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from ignite.engine import Engine
from monai.config import PathLike

from transeg.bundle.calibration import Calibration, inference_config, inference_of, set_inference
from transeg.data.datalist import load_list, read_json
from transeg.data.volumes import find_volumes
from transeg.errors import UserError
from transeg.files import RUN
from transeg.metrics.trust import FEWEST, TrustLimits, calibrate

SCANS = 64  # enough for false alarms in 1.5 % of scans
LISTS = ("training_volumes", "validation_volumes")


def trust(
    root: Annotated[Path, typer.Argument(help="Bundle or run folder with weights.")],
    data: Annotated[Path, typer.Option(help="Scans of the usual kind: folder, table or prepared data.")],
    scans: Annotated[int, typer.Option(help="Number of scans to use, evenly spread.", min=FEWEST)] = SCANS,
) -> None:
    """Set the limits of the trust report by scans that are known to be fine."""
    path = inference_config(root)
    recipe = json.loads(path.read_text())["recipe"]
    items = find_volumes(data, recipe["channels"], LISTS, recipe.get("spacing"))
    limits = calibrate_trust(root, items, scans)
    typer.echo(f"{path}: false alarms in {limits.rate:.1%} of such scans; limits {asdict(limits)}")


def calibrate_trust(root: PathLike, items: Sequence[Mapping[str, Any]], scans: int = SCANS) -> TrustLimits:
    """Segment scans with the weights of a bundle or run folder and write the limits to its inference.json.

    Args:
        root: the folder.
        items: scans, see `find_volumes`; those that fail are left out.
        scans: number of them to use, evenly spread.

    Raises:
        UserError: its inference makes no trust report, too few scans, or none that it can segment.
    """
    config = json.loads(inference_config(root).read_text())
    if not config.get("save_reports") or "trust" not in config:
        raise UserError(f"{inference_config(root)}: its inference writes no trust report")
    if len(items) < FEWEST:
        raise UserError(f"{len(items)} scans to calibrate on; at least {FEWEST} are needed")
    limits = calibrate(_values(root, items[:: -(-len(items) // scans)]))
    set_inference(root, {"trust": asdict(limits)})
    return limits


def _values(root: PathLike, items: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        inference_of(root, items, folder, {"save_reports": True, "trust": None}).run()
        report = Path(folder) / "trust.csv"
        if not report.is_file():
            raise UserError(f"none of the {len(items)} scans can be segmented; the log says why")
        with report.open(newline="") as file:
            rows = list(csv.DictReader(file))
    texts = ("case", "flagged", "sentence", RUN)
    return [{name: float(value) for name, value in row.items() if name not in texts} for row in rows]


class TrustCalibration(Calibration):
    """At the end of a training run, set the limits of its trust report by its training and validation scans.

    Args:
        path: the run folder.
        datalist: of the prepared data; without one, or with too few scans, nothing will be flagged.
        scans: number of scans to use; 0: none.
    """

    def __init__(self, path: PathLike, datalist: PathLike, scans: int = SCANS) -> None:
        super().__init__(path, datalist)
        self.scans = scans

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if self.scans:
            super().attach(engine)

    def calibrate(self) -> str:
        """Calibrate on the scans of the datalist."""
        limits = calibrate_trust(self.path, self._items(), self.scans)
        return f"Trust report calibrated on {limits.scans} scans: false alarms in {100 * limits.rate:.1f} %."

    def without(self, why: str) -> str:
        """Say how to do it later."""
        return f"The trust report will flag no scan ({why}); to calibrate it: transeg trust {self.path} --data SCANS"

    def _items(self) -> list[dict[str, Any]]:
        if not self.datalist.is_file():
            return []
        content = read_json(self.datalist)
        return [item for key in LISTS if key in content for item in load_list(self.datalist, content, key)]
