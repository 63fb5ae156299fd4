"""Threshold and least area of the masks of a training run, by image-level labels of its scans."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from ignite.engine import Engine, Events
from monai.config import PathLike

from transeg.bundle.calibration import Calibration, inference_config, inference_of, set_inference
from transeg.data.datalist import load_list, read_json
from transeg.errors import UserError
from transeg.metrics.operating_point import OperatingPoint, areas_above, best_operating_point
from transeg.transforms.intensity import foreground_mask
from transeg.transforms.preprocessing import AXES, label_loading, slice_axis

PROBABILITY = {"_target_": "Activationsd", "keys": "pred", "sigmoid": True}


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
    along = slice_axis(label.affine.numpy(), AXES[recipe.get("axis", "axial")])
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
        content = read_json(self.datalist)
        lists = (f"{split}_volumes" for split in ("validation", "training"))
        point = choose_operating_point(
            self.path, *(load_list(self.datalist, content, key) if key in content else [] for key in lists)
        )
        return (
            f"Threshold {point.threshold:g} and least area {point.least_area:.0f} mm^2 chosen by image-level labels: "
            f"mean of sensitivity and specificity over slices {point.accuracy:.3f}."
        )

    def without(self, why: str) -> str:
        """Say what is used instead."""
        return f"Threshold and least area of the masks are not chosen by image-level labels ({why}): 0.5 and 0."
