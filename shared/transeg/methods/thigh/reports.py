"""Reports on segmented thighs: muscle volume and fat fraction per leg, and the plausible region of changes."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation

from transeg.files import case_name, write_rows
from transeg.methods.thigh.compartment import muscle_compartment
from transeg.methods.thigh.legs import LegMuscle, measure_legs, share_under_skin, split_legs
from transeg.metrics.silhouette import silhouette
from transeg.transforms.centre import CUT, reaches_border
from transeg.transforms.load import LoadVolumed
from transeg.transforms.reports import channel_array, format_value

MAX_UNDER_SKIN = 0.15  # plausible fraction of a muscle mask just below the skin, where fat is expected

logger = logging.getLogger(__name__)


class MuscleCompartmentd(MapTransform):
    """Put the plausible region for `TrustReportd`, see `muscle_compartment`, under "region", (1, X, Y, Z) float32.

    Args:
        keys: muscle segmented in the source (1, X, Y, Z), on the preprocessed grid.
        source_key: the preprocessed image.
    """

    def __init__(self, keys: KeysCollection, source_key: str = "image") -> None:
        super().__init__(keys)
        self.source_key = source_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the region."""
        item = dict(data)
        source = item[self.source_key]
        for key in self.key_iterator(item):
            body = silhouette(channel_array(source))
            region = muscle_compartment(channel_array(item[key]), body, source.pixdim.tolist())
            item["region"] = MetaTensor(torch.from_numpy(region[None]).float(), affine=source.affine)
        return item


class MeasureLegsd(MapTransform):
    """Write `muscle.csv`: muscle volume in ml and fat fraction per leg, see `measure_legs`.

    Measured on the grid and intensities of the input file, which is read again. Volumes are those within the slices of
    the scan. "complete" is "no" if these do not show the whole leg: the preprocessing had to cut the body, or muscle
    reaches the edge of a slice.

    Args:
        keys: masks (1, X, Y, Z) on the grid of the input, after `Invertd`.
        output_dir: output folder, created if needed.
        source_key: the image of the mask; its meta data name the file.

    Raises:
        ValueError: the mask is not on the grid of the input.
    """

    FIELDS = ("case", *LegMuscle._fields, "complete")

    def __init__(self, keys: KeysCollection, output_dir: PathLike, source_key: str = "image") -> None:
        super().__init__(keys)
        self.output_dir, self.source_key = Path(output_dir), source_key
        self.load, self.reorient = LoadVolumed("image"), Orientation(axcodes="RAS", labels=None)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write one row per leg; returns a copy of the item."""
        case = case_name(data, self.source_key)
        scan = self.reorient(self.load({"image": data[self.source_key].meta["filename_or_obj"]})["image"])
        assert isinstance(scan, MetaTensor)  # MONAI declares a plain tensor
        image, spacing = channel_array(scan), scan.pixdim.tolist()
        body = silhouette(image)
        for key in self.key_iterator(data):
            mask = MetaTensor(data[key].as_tensor().detach().cpu().float(), affine=data[key].affine)
            mask = channel_array(self.reorient(mask)) != 0
            if mask.shape != image.shape:
                raise ValueError(
                    f"{case}: mask {mask.shape} and image {image.shape} differ in shape; apply Invertd first"
                )
            if share_under_skin(mask, body, spacing) > MAX_UNDER_SKIN:
                logger.warning(
                    "%s: much of the mask lies just below the skin, where fat is expected; volumes and fat fractions "
                    "are unreliable. Review this case; is the scan T1-weighted (muscle darker than fat)?",
                    case,
                )
            legs = split_legs(body, spacing)
            cut = bool(data[self.source_key].meta.get(CUT, False))
            rows = []
            for row in measure_legs(image, mask, body, spacing):
                complete = not (cut or reaches_border(mask & body & legs[row.leg], axes=(0, 1)))
                values = {name: format_value(value) for name, value in row._asdict().items()}
                rows.append({"case": case, **values, "complete": "yes" if complete else "no"})
                if not complete:
                    logger.warning(
                        "%s: %s: cut off by the edge of the image; its volume is that of the visible part",
                        case,
                        row.leg,
                    )
            write_rows(self.output_dir / "muscle.csv", self.FIELDS, rows)
        return dict(data)
