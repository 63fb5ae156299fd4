"""Muscle volume and fat fraction of each leg, and where a translation may change a scan."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import MapTransform, Orientation

from transeg.files import case_name, write_rows
from transeg.methods.thigh.compartment import muscle_compartment
from transeg.methods.thigh.legs import LegMuscle, measure_legs, share_under_skin
from transeg.metrics.silhouette import silhouette
from transeg.transforms.load import LoadVolumed
from transeg.transforms.reports import channel_array, format_value

MOST_UNDER_SKIN = 0.15  # of a mask of thigh muscle: on a T1w scan fat lies there


logger = logging.getLogger(__name__)


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
            region = muscle_compartment(
                channel_array(item[key]), silhouette(channel_array(source)), source.pixdim.tolist()
            )
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
        image, spacing = channel_array(scan), scan.pixdim.tolist()
        body = silhouette(image)
        for key in self.key_iterator(data):
            mask = MetaTensor(data[key].as_tensor().detach().cpu().float(), affine=data[key].affine)
            mask = channel_array(self.turn(mask)) != 0
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
                [{"case": case} | {name: format_value(value) for name, value in row._asdict().items()} for row in rows],
            )
        return dict(data)
