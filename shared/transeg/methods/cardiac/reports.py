"""Reports on segmented hearts: missing regions, and how a translation changed each region."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import KeysCollection, PathLike
from monai.transforms import MapTransform

from transeg.files import case_name, write_rows
from transeg.methods.cardiac.regions import RegionChange, region_changes
from transeg.transforms.centre import reaches_border
from transeg.transforms.reports import channel_array, format_value

logger = logging.getLogger(__name__)


class MissingRegionsd(MapTransform):
    """Warn about regions missing from a segmentation, a sign of another body part or modality.

    Args:
        keys: segmentation (1, X, Y, Z), class map.
        regions: names of classes 1, 2, ...
        source_key: the preprocessed image; its meta data name the case.
    """

    def __init__(self, keys: KeysCollection, regions: Sequence[str], source_key: str = "image") -> None:
        super().__init__(keys)
        self.regions, self.source_key = tuple(regions), source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Log a warning; returns a copy of the item."""
        for key in self.key_iterator(data):
            mask = channel_array(data[key])
            missing = [name for k, name in enumerate(self.regions, 1) if not (mask == k).any()]
            if missing:
                case = case_name(data, self.source_key)
                logger.warning("%s: %s not found; review this case", case, ", ".join(missing))
        return dict(data)


class RegionChangeReportd(MapTransform):
    """Write `regions.csv`: volume of each region in a scan and its translation, and their overlap.

    Both segmentations must be on the preprocessed grid, i.e. before `Invertd`; see `region_changes`. "complete" is "no"
    for a region that reaches an end of the volume in the scan, so that its volume may be that of a part. Warns about
    these, and if a region overlaps too little or is present in only one of the segmentations.

    Args:
        keys: segmentation of the translation (1, X, Y, Z), class map.
        output_dir: output folder, created if needed.
        regions: names of classes 1, 2, ...
        source_mask_key: segmentation of the source, or its label.
        source_key: the preprocessed image; its meta data name the case.
        min_dice: overlap below which to warn.
    """

    FIELDS = ("case", *RegionChange._fields, "complete")

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: PathLike,
        regions: Sequence[str],
        source_mask_key: str = "source_mask",
        source_key: str = "image",
        min_dice: float = 0.7,
    ) -> None:
        super().__init__(keys)
        self.output_dir, self.regions, self.min_dice = Path(output_dir), tuple(regions), min_dice
        self.source_mask_key, self.source_key = source_mask_key, source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write one row per region; returns a copy of the item."""
        case, spacing = case_name(data, self.source_key), data[self.source_key].pixdim.tolist()
        before = channel_array(data[self.source_mask_key])
        for key in self.key_iterator(data):
            changes = region_changes(before, channel_array(data[key]), self.regions, spacing)
            cut = [c.region for k, c in enumerate(changes, 1) if reaches_border(before == k)]
            rows = [c._asdict() | {"complete": "no" if c.region in cut else "yes"} for c in changes]
            rows = [{"case": case} | {name: format_value(value) for name, value in row.items()} for row in rows]
            write_rows(self.output_dir / "regions.csv", self.FIELDS, rows)
            if cut:
                logger.warning("%s: %s only partly in the volume; that part is measured", case, ", ".join(cut))
            moved = [
                f"{c.region} (Dice {c.dice:.2f}, {c.change_ml:+.1f} ml)" for c in changes if c.dice < self.min_dice
            ]
            if moved:
                logger.warning("%s: the translation changed %s; review this case", case, ", ".join(moved))
        return dict(data)
