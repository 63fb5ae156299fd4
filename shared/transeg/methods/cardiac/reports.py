"""Reports on segmented hearts: missing regions, and what a translation did to each region."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.transforms import MapTransform

from transeg.files import case_name, write_rows
from transeg.methods.cardiac.regions import RegionChange, region_changes
from transeg.transforms.reports import channel_array, format_value

logger = logging.getLogger(__name__)


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
            found = np.unique(channel_array(data[key]))
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
        before = channel_array(data[self.source_mask_key])
        for key in self.key_iterator(data):
            changes = region_changes(before, channel_array(data[key]), self.regions, spacing)
            rows = [{name: format_value(value) for name, value in change._asdict().items()} for change in changes]
            write_rows(self.output_dir / "regions.csv", self.FIELDS, [{"case": case} | row for row in rows])
            moved = [
                f"{c.region} (Dice {c.dice:.2f}, {c.change_ml:+.1f} ml)" for c in changes if c.dice < self.least_dice
            ]
            if moved:
                logger.warning("%s: the translation changed %s: look at it", case, ", ".join(moved))
        return dict(data)
