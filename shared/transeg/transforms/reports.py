"""Tables and pictures that inference writes beside the volumes: trust in a translation, its regions, muscle of legs."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation
from PIL import Image

from transeg.metrics.compartment import muscle_compartment
from transeg.metrics.legs import LegMuscle, measure_legs, share_under_skin
from transeg.metrics.regions import RegionChange, region_changes
from transeg.metrics.silhouette import silhouette
from transeg.metrics.trust import TrustLimits, trust_report
from transeg.transforms.load import LoadVolumed
from transeg.transforms.outputs import case_name
from transeg.visual.trust import change_parts, trust_panel

logger = logging.getLogger(__name__)

MOST_UNDER_SKIN = 0.15  # of a mask of thigh muscle: on a T1w scan fat lies there


def write_rows(path: PathLike, fields: Sequence[str], rows: Sequence[Mapping[str, Any]], key: str = "case") -> None:
    """Add rows to a CSV file, in place of earlier rows of the same `key`; whole or not at all.

    Several processes may write to one file: a lock file beside it makes them take turns.

    Raises:
        ValueError: the file there has other columns.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        kept = _other_rows(path, fields, {str(row[key]) for row in rows}, key)
        partial = path.with_name(f".partial_{path.name}")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, fields)
            writer.writeheader()
            writer.writerows([*kept, *rows])
        os.replace(partial, path)


def _other_rows(path: Path, fields: Sequence[str], replaced: set[str], key: str) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != list(fields):
            raise ValueError(f"{path}: has other columns than {', '.join(fields)}; move the file away")
        return [row for row in reader if row[key] not in replaced]


def _readable(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


class TrustReportd(MapTransform):
    """Write `trust.csv`, one row for each case, and `<case>_trust.png`; warn of cases that are flagged.

    On the preprocessed grid (RAS), before anything is inverted.

    Args:
        keys: the translation (C, X, Y, Z).
        output_dir: folder, made when needed.
        source_key: the preprocessed image.
        mask_key: segmentation of the translation (1, X, Y, Z), if there is one.
        source_mask_key: that of the source.
        region_key: where changes are plausible (1, X, Y, Z), such as by `MuscleCompartmentd`; default the body.
        foreground: (C, X, Y, Z) -> bool (1, X, Y, Z), such as `brain_mask`; default `silhouette` of the channel.
        sign: of the changes that the method allows: -1, +1 or None.
        channel: which one is looked at.
        tolerance: change that counts, as a share of the source's range of intensities.
        limits: from where on to flag, as the fields of `TrustLimits`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: PathLike,
        source_key: str = "image",
        mask_key: str | None = None,
        source_mask_key: str | None = None,
        region_key: str | None = None,
        foreground: Callable[[torch.Tensor], torch.Tensor] | None = None,
        sign: int | None = None,
        channel: int = 0,
        tolerance: float = 0.1,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(keys)
        if (mask_key is None) != (source_mask_key is None):
            raise ValueError("mask_key and source_mask_key are compared with one another: give both or none")
        self.output_dir, self.source_key = Path(output_dir), source_key
        self.mask_keys = {"source_mask": source_mask_key, "translation_mask": mask_key} if mask_key else {}
        self.region_key, self.foreground, self.sign, self.channel = region_key, foreground, sign, channel
        self.tolerance, self.limits = tolerance, TrustLimits(**limits or {})

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Write row and picture; the item is returned as it is."""
        source = data[self.source_key]
        volume = _array(source, self.channel)
        case = case_name(data, self.source_key)
        masks = {name: _array(data[key]) for name, key in self.mask_keys.items()}
        for key in self.key_iterator(data):
            translation = _array(data[key], self.channel)
            pair = (source, data[key])
            report = trust_report(
                volume,
                translation,
                spacing=source.pixdim.tolist(),
                sign=self.sign,
                region=None if self.region_key is None else _array(data[self.region_key]),
                foregrounds=None if self.foreground is None else [_array(self.foreground(x)) != 0 for x in pair],
                **masks,
                tolerance=self.tolerance,
                limits=self.limits,
            )
            values = report.as_dict()
            row = {"case": case} | {name: _readable(value) for name, value in values.items()}
            write_rows(self.output_dir / "trust.csv", list(row), [row])
            parts = change_parts(volume, translation, **masks, sign=self.sign, tolerance=self.tolerance)
            picture = trust_panel(volume, translation, parts, caption=case)
            Image.fromarray(picture).save(self.output_dir / f"{case}_trust.png")
            if report.flagged:
                logger.warning("%s: %s", case, report.sentence)
        return dict(data)


class MissingRegionsd(MapTransform):
    """Warn of regions that a segmentation does not show: another part of the body, perhaps, or another modality.

    Args:
        keys: segmentation (1, X, Y, Z), classes.
        regions: names of the classes 1, 2, and so on.
        source_key: the preprocessed image; its meta data name the case.
    """

    def __init__(self, keys: KeysCollection, regions: Sequence[str], source_key: str = "image") -> None:
        super().__init__(keys)
        self.regions, self.source_key = tuple(regions), source_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Log; the item is returned as it is."""
        for key in self.key_iterator(data):
            found = np.unique(_array(data[key]))
            missing = [name for k, name in enumerate(self.regions, 1) if k not in found]
            if missing:
                case = case_name(data, self.source_key)
                logger.warning("%s: no %s is found: look at it", case, ", ".join(missing))
        return dict(data)


class RegionChangeReportd(MapTransform):
    """Write `regions.csv`: volume of each region in a scan and in its translation, and their overlap.

    Both segmentations on the preprocessed grid, before anything is inverted; see `region_changes`. Cases in which a
    region overlaps too little, or is there in one of both alone, are warned of.

    Args:
        keys: segmentation of the translation (1, X, Y, Z), classes.
        output_dir: folder, made when needed.
        regions: names of the classes 1, 2, and so on.
        source_mask_key: segmentation of the source, or its label.
        source_key: the preprocessed image; its meta data name the case.
        least_dice: overlap below which to warn.
    """

    FIELDS = ("case", *RegionChange._fields)

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: PathLike,
        regions: Sequence[str],
        source_mask_key: str = "source_mask",
        source_key: str = "image",
        least_dice: float = 0.7,
    ) -> None:
        super().__init__(keys)
        self.output_dir, self.regions, self.least_dice = Path(output_dir), tuple(regions), least_dice
        self.source_mask_key, self.source_key = source_mask_key, source_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Write the rows of the regions; the item is returned as it is."""
        case, spacing = case_name(data, self.source_key), data[self.source_key].pixdim.tolist()
        before = _array(data[self.source_mask_key])
        for key in self.key_iterator(data):
            changes = region_changes(before, _array(data[key]), self.regions, spacing)
            rows = [{name: _readable(value) for name, value in change._asdict().items()} for change in changes]
            write_rows(self.output_dir / "regions.csv", self.FIELDS, [{"case": case} | row for row in rows])
            moved = [
                f"{c.region} (Dice {c.dice:.2f}, {c.change_ml:+.1f} ml)" for c in changes if c.dice < self.least_dice
            ]
            if moved:
                logger.warning("%s: the translation changed %s: look at it", case, ", ".join(moved))
        return dict(data)


class MuscleCompartmentd(MapTransform):
    """Find the plausible region for `TrustReportd`: item["region"] = `muscle_compartment` (1, X, Y, Z), float32.

    Args:
        keys: muscle found in the source (1, X, Y, Z), on the preprocessed grid.
        source_key: the preprocessed image.
    """

    def __init__(self, keys: KeysCollection, source_key: str = "image") -> None:
        super().__init__(keys)
        self.source_key = source_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item with the region."""
        item = dict(data)
        source = item[self.source_key]
        for key in self.key_iterator(item):
            region = muscle_compartment(_array(item[key]), silhouette(_array(source)), source.pixdim.tolist())
            item["region"] = MetaTensor(torch.from_numpy(region[None]).float(), affine=source.affine)
        return item


class MeasureLegsd(MapTransform):
    """Write `muscle.csv`: muscle volume in ml and fat fraction of each leg, see `measure_legs`.

    Measured on the grid and in the intensities of the input file, which is read again.

    Args:
        keys: masks (1, X, Y, Z) on the grid of the input, after `Invertd`.
        output_dir: folder, made when needed.
        source_key: the image that the mask belongs to; its meta data name the file.
    """

    FIELDS = ("case", *LegMuscle._fields)

    def __init__(self, keys: KeysCollection, output_dir: PathLike, source_key: str = "image") -> None:
        super().__init__(keys)
        self.output_dir, self.source_key = Path(output_dir), source_key
        self.load, self.turn = LoadVolumed("image"), Orientation(axcodes="RAS", labels=None)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Write the rows of the legs; the item is returned as it is."""
        case = case_name(data, self.source_key)
        scan = self.turn(self.load({"image": data[self.source_key].meta["filename_or_obj"]})["image"])
        image, spacing = _array(scan), scan.pixdim.tolist()
        body = silhouette(image)
        for key in self.key_iterator(data):
            mask = MetaTensor(data[key].as_tensor().detach().cpu().float(), affine=data[key].affine)
            mask = _array(self.turn(mask)) != 0
            if mask.shape != image.shape:
                raise ValueError(f"{case}: mask {mask.shape} and image {image.shape} differ; put Invertd before this")
            if share_under_skin(mask, body, spacing) > MOST_UNDER_SKIN:
                logger.warning(
                    "%s: much of the mask lies just below the skin, where fat is expected: look at it; is the scan "
                    "T1-weighted (muscle darker than fat)? Volumes and fat fractions are doubtful",
                    case,
                )
            rows = measure_legs(image, mask, body, spacing)
            write_rows(
                self.output_dir / "muscle.csv",
                self.FIELDS,
                [{"case": case} | {name: _readable(value) for name, value in row._asdict().items()} for row in rows],
            )
        return dict(data)


def _array(volume: torch.Tensor, channel: int = 0) -> np.ndarray:
    return torch.as_tensor(volume)[channel].detach().cpu().numpy()
