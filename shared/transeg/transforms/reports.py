"""Plausibility report of a translation, written next to the volumes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import MapTransform
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from transeg.errors import UserError
from transeg.files import FIGURE_TEXT, atomic, case_name, write_rows
from transeg.metrics.trust import TrustLimits, trust_report
from transeg.visual.trust import change_parts, trust_panel

logger = logging.getLogger(__name__)


def format_value(value: Any) -> Any:
    """Round a float to four significant digits; return other values unchanged."""
    return f"{value:.4g}" if isinstance(value, float) else value


class TrustReportd(MapTransform):
    """Write `trust.csv` (one row per case) and `<case>_trust.png`; warn about flagged cases.

    Use on the preprocessed grid (RAS), before inversion.

    Args:
        keys: translation (C, X, Y, Z).
        output_dir: folder, created if needed.
        source_key: preprocessed image.
        mask_key: segmentation of the translation (1, X, Y, Z), if any.
        source_mask_key: segmentation of the source, if any.
        region_key: region of plausible change (1, X, Y, Z); default the body.
        foreground: (C, X, Y, Z) -> bool (1, X, Y, Z), such as `brain_mask`; default the channel's `silhouette`.
        sign: sign of the changes that the method can make: -1, +1 or None (either).
        channel: channel to assess.
        tolerance: smallest change that counts, as a fraction of the source's intensity range.
        limits: thresholds for flagging, fields of `TrustLimits`; None: values only, nothing is flagged.

    Raises:
        UserError: only one of `mask_key` and `source_mask_key`.
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
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(keys)
        self.mask_keys: dict[str, str] = {}
        if mask_key is not None and source_mask_key is not None:
            self.mask_keys = {"source_mask": source_mask_key, "translation_mask": mask_key}
        elif mask_key is not None or source_mask_key is not None:
            raise UserError("mask_key and source_mask_key are compared with one another: give both or neither")
        self.output_dir, self.source_key = Path(output_dir), source_key
        self.region_key, self.foreground, self.sign, self.channel = region_key, foreground, sign, channel
        self.tolerance = tolerance
        self.limits = None if limits is None else TrustLimits(**limits)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write row and figure and return the item unchanged."""
        source = data[self.source_key]
        volume = channel_array(source, self.channel)
        case = case_name(data, self.source_key)
        masks = {name: channel_array(data[key]) for name, key in self.mask_keys.items()}
        for key in self.key_iterator(data):
            translation = channel_array(data[key], self.channel)
            pair = (source, data[key])
            report = trust_report(
                volume,
                translation,
                spacing=source.pixdim.tolist(),
                sign=self.sign,
                region=None if self.region_key is None else channel_array(data[self.region_key]),
                foregrounds=None if self.foreground is None else [channel_array(self.foreground(x)) != 0 for x in pair],
                **masks,
                tolerance=self.tolerance,
                limits=self.limits,
            )
            values = report.as_dict()
            row = {"case": case} | {name: format_value(value) for name, value in values.items()}
            write_rows(self.output_dir / "trust.csv", list(row), [row])
            parts = change_parts(volume, translation, **masks, sign=self.sign, tolerance=self.tolerance)
            figure = trust_panel(volume, translation, parts, caption=case)
            save_figure(self.output_dir, case, "trust", figure)
            if report.flagged:
                logger.warning("%s: %s", case, report.sentence)
        return dict(data)


class SurroundingsOfd(MapTransform):
    """Put a mask and what is close to it under "region", (1, X, Y, Z) bool: where a lesion may be taken away.

    Args:
        keys: probabilities or a mask (1, X, Y, Z), on the preprocessed grid.
        threshold: of the probabilities.
        margin: distance in mm that counts as close, for the blurred rim of a lesion.
    """

    def __init__(self, keys: KeysCollection, threshold: float = 0.5, margin: float = 10.0) -> None:
        super().__init__(keys)
        self.threshold, self.margin = threshold, margin

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the region."""
        item = dict(data)
        for key in self.key_iterator(item):
            outside = channel_array(item[key]) <= self.threshold
            near = ndimage.distance_transform_edt(outside, item[key].pixdim.tolist()) <= self.margin
            region = near if not outside.all() else np.zeros_like(outside)
            item["region"] = MetaTensor(torch.from_numpy(region[None]), affine=item[key].affine)
        return item


def save_figure(output_dir: Path, case: str, what: str, figure: np.ndarray) -> None:
    """Save an image as `<case>_<what>.png`, with "transeg <what>" inside as in `write_nifti`, atomically.

    Args:
        output_dir: output folder.
        case: its name.
        what: what the image is; "": the file is `<case>.png`.
        figure: (height, width, 3).
    """
    note = PngInfo()
    note.add_text(FIGURE_TEXT, f"transeg {what}".strip())
    with atomic(output_dir / f"{case}{what and '_'}{what}.png") as partial:
        Image.fromarray(figure).save(partial, pnginfo=note)


def channel_array(volume: torch.Tensor, channel: int = 0) -> np.ndarray:
    """Channel of a volume (C, X, Y, Z) as an array (X, Y, Z)."""
    return torch.as_tensor(volume)[channel].detach().cpu().numpy()
