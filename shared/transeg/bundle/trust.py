"""What scans set in the `inference.json` of a bundle or run folder, and of a training run once its weights are saved.

The limits of its trust report, by scans that are fine; threshold and least area of its masks, by image-level labels.
"""

from __future__ import annotations

import csv
import json
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast

import ignite.distributed as idist
import numpy as np
import typer
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser
from monai.config import PathLike

from transeg.data.datalist import load_lists
from transeg.data.volumes import find_volumes
from transeg.errors import UserError, reason, root_cause
from transeg.files import RUN, write_text
from transeg.metrics.presence import OperatingPoint, areas_above, best_operating_point
from transeg.metrics.trust import FEWEST, RATE, TrustLimits, calibrate
from transeg.transforms.intensity import foreground_mask
from transeg.transforms.preprocessing import label_loading, scan_slice_axis

logger = logging.getLogger(__name__)

SCANS = 64  # enough for false alarms in 1.5 % of scans
LISTS = ("training_volumes", "validation_volumes")
PROBABILITY = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}


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


def trust(
    root: Annotated[Path, typer.Argument(help="Bundle or run folder with weights.")],
    data: Annotated[Path, typer.Option(help="Scans of the usual kind: folder, table or prepared data.")],
    scans: Annotated[int, typer.Option(help="Number of scans to use, evenly spread.", min=FEWEST)] = SCANS,
    rate: Annotated[float, typer.Option(help="Share of scans of this kind that may be flagged.", min=0, max=1)] = RATE,
) -> None:
    """Set the limits of the trust report by scans that are known to be fine."""
    path = inference_config(root)
    recipe = json.loads(path.read_text())["recipe"]
    items = find_volumes(data, recipe["channels"], LISTS, recipe.get("spacing"))
    limits = calibrate_trust(root, items, scans, rate)
    typer.echo(f"{path}: false alarms in {limits.rate:.1%} of such scans; limits {asdict(limits)}")


def calibrate_trust(
    root: PathLike, items: Sequence[Mapping[str, Any]], scans: int = SCANS, rate: float = RATE
) -> TrustLimits:
    """Segment scans with the weights of a bundle or run folder and write the limits to its inference.json.

    Args:
        root: the folder.
        items: scans, see `find_volumes`; those that fail are left out.
        scans: number of them to use, evenly spread.
        rate: share of scans of this kind that may be flagged.

    Raises:
        UserError: its inference makes no trust report, too few scans, or none that it can segment.
    """
    config = json.loads(inference_config(root).read_text())
    if not config.get("save_reports") or "trust" not in config:
        raise UserError(f"{inference_config(root)}: its inference writes no trust report")
    if len(items) < FEWEST:
        raise UserError(f"{len(items)} scans to calibrate on; at least {FEWEST} are needed")
    limits = calibrate(_values(root, items[:: -(-len(items) // scans)]), rate)
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
        rate: share of scans of this kind that may be flagged.
    """

    def __init__(self, path: PathLike, datalist: PathLike, scans: int = SCANS, rate: float = RATE) -> None:
        super().__init__(path, datalist)
        self.scans, self.rate = scans, rate

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        if self.scans:
            super().attach(engine)

    def calibrate(self) -> str:
        """Calibrate on the scans of the datalist."""
        limits = calibrate_trust(self.path, self._items(), self.scans, self.rate)
        return f"Trust report calibrated on {limits.scans} scans: false alarms in {100 * limits.rate:.1f} %."

    def without(self, why: str) -> str:
        """Say how to do it later."""
        return f"The trust report will flag no scan ({why}); to calibrate it: transeg trust {self.path} --data SCANS"

    def _items(self) -> list[dict[str, Any]]:
        return load_lists(self.datalist, LISTS) if self.datalist.is_file() else []


def choose_operating_point(
    root: PathLike, validation: Sequence[Mapping[str, Any]], training: Sequence[Mapping[str, Any]]
) -> OperatingPoint:
    """Choose threshold and least area by which slices show the lesion, and write them to a run's inference.json.

    By the validation scans, if there are slices of both kinds among them; otherwise by the training scans.

    Args:
        root: bundle or run folder, whose inference applies "threshold" and "least_area".
        validation: scans, see `find_volumes`; those without "presence" and without a label are left out.
        training: likewise.

    Raises:
        UserError: no scan of either kind with slices that show the lesion and slices that do not.
    """
    config = json.loads(inference_config(root).read_text())
    if not {"threshold", "least_area"} <= config.keys():
        raise UserError(f"{inference_config(root)}: its inference has no threshold and least area")
    for items in (validation, training):
        known = [_with_presence(item, config["recipe"]) for item in items if {"presence", "label"} & item.keys()]
        areas, present = slice_areas(root, known)
        if present.any() and not present.all():
            point = best_operating_point(areas, present)
            set_inference(root, {"threshold": point.threshold, "least_area": point.least_area})
            return point
    raise UserError("no scans of which is known which slices show the lesion and which do not")


def slice_areas(root: PathLike, items: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Areas above thresholds in the slices of scans, in mm^2, and whether the slices show the lesion.

    Args:
        root: bundle or run folder.
        items: scans with "presence", see `load_scan`.

    Returns:
        See `areas_above` and `best_operating_point`.
    """
    slices = _Slices()
    if items:
        with tempfile.TemporaryDirectory() as folder:
            output = {"_target_": "Compose", "transforms": [PROBABILITY]}
            engine = inference_of(root, items, folder, {"preprocessing#presence": True, "postprocessing": output})
            slices.attach(engine)
            engine.run()
    if not slices.areas:
        return np.zeros((0, 0)), np.zeros(0, bool)
    return np.concatenate(slices.areas, axis=1), np.concatenate(slices.present)


class _Slices:
    """Collects the slices that show some of the scan, on the preprocessed grid."""

    def __init__(self) -> None:
        self.areas: list[np.ndarray] = []
        self.present: list[np.ndarray] = []

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        batch, output = (cast(list[dict[str, Any]], part) for part in (engine.state.batch, engine.state.output))
        for loaded, predicted in zip(batch, output, strict=True):
            image, pixel = loaded["image"], loaded["image"].pixdim
            inside = foreground_mask(image)[0].any(dim=0).any(dim=0).numpy(force=True)
            areas = areas_above(predicted["pred"][0].numpy(force=True), pixel=float(pixel[0] * pixel[1]))
            self.areas.append(areas[:, inside])
            self.present.append(loaded["presence"][0].numpy(force=True).any(axis=(0, 1))[inside])


def _with_presence(item: Mapping[str, Any], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """An item without its label, and which slices of it show a lesion."""
    own = {key: value for key, value in item.items() if key != "label"}
    if "presence" in item:
        return own
    label = label_loading(recipe, "label", like="image")(dict(item))["label"]
    along = scan_slice_axis(label.affine.numpy(), recipe)
    shown = label[0].numpy().any(axis=tuple({0, 1, 2} - {along}))
    return own | {"presence": [(int(z), int(z)) for z in np.flatnonzero(shown)]}


class OperatingPointChoice(Calibration):
    """At the end of a training run, choose threshold and least area of its masks, see `choose_operating_point`.

    Args:
        path: the run folder.
        datalist: of the prepared data.
    """

    def calibrate(self) -> str:
        """Choose by the scans of the datalist."""
        training, validation = (load_lists(self.datalist, [name]) for name in LISTS)
        point = choose_operating_point(self.path, validation, training)
        return (
            f"Threshold {point.threshold:g} and least area {point.least_area:.0f} mm^2 chosen by image-level labels: "
            f"mean of sensitivity and specificity over slices {point.accuracy:.3f}."
        )

    def without(self, why: str) -> str:
        """Say what is used instead."""
        return f"Threshold and least area of the masks are not chosen by image-level labels ({why}): 0.5 and 0."
