"""Intensity normalisation and its inverse."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from transeg.errors import VolumeError
from transeg.files import file_name


class ScaleRanged(MapTransform):
    """Map the `lower` and `upper` percentiles of each channel to 0 and 1 and clip.

    The same rule for all scans, whatever their disease grade, keeps the intensities of two domains comparable. MONAI's
    `ScaleIntensityRangePercentilesd` accepts constant channels and does not record the scale, which the inverse needs.
    `Invertd` does not undo this (it must not touch masks); `RestoreIntensityd` does, except for clipping.

    Raises:
        VolumeError: a channel of constant intensity.
    """

    def __init__(self, keys: KeysCollection, lower: float = 0.0, upper: float = 99.5) -> None:
        super().__init__(keys)
        self.percentiles = (lower, upper)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale (C, X, Y, Z) per channel; record offset and scale (C,) in the metadata."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            low, high = torch.from_numpy(np.stack([percentiles(channel, self.percentiles) for channel in image], 1))
            constant = torch.nonzero(high <= low).flatten().tolist()
            if constant:
                raise VolumeError(f"{file_name(image)}: channel(s) {constant} of constant intensity; replace the file")
            item[key] = (image - per_channel(low, image)).div_(per_channel(high - low, image)).clamp_(0, 1)
            record_scale(item[key], low, high - low)
        return item


def percentiles(channel: torch.Tensor, ranks: Sequence[float]) -> np.ndarray:
    """`numpy.percentile` of float32 values as of their float64 copies, in half of the memory: float64 (len(ranks),)."""
    values = channel.numpy(force=True).ravel()
    places = np.asarray(ranks, dtype=np.float64) / 100 * (values.size - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, values.size - 1)
    ordered = np.partition(values, np.union1d(below, above))
    low, high, share = ordered[below].astype(np.float64), ordered[above].astype(np.float64), places - below
    return np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share))


class WindowRanged(MapTransform):
    """Map intensities from [`low`, `high`], in the file's units, to [0, 1] and clip.

    For CT, whose units (HU) are absolute. MONAI's `ScaleIntensityRanged` does not record the scale, which
    `RestoreIntensityd` needs.
    """

    def __init__(self, keys: KeysCollection, low: float, high: float) -> None:
        super().__init__(keys)
        self.low, self.high = low, high

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale (C, X, Y, Z); record offset and scale (C,) in the metadata."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            item[key] = (image - self.low).div_(self.high - self.low).clamp_(0, 1)
            offset, scale = (torch.full((len(image),), value) for value in (self.low, self.high - self.low))
            record_scale(item[key], offset, scale)
        return item


class SignedRanged(MapTransform):
    """Map [0, 1] to [-1, 1], the range of tanh, and update the recorded scale."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Map (C, X, Y, Z)."""
        item = dict(data)
        for key in self.key_iterator(item):
            offset, scale = (item[key].meta[name] for name in ("intensity_offset", "intensity_scale"))
            item[key] = 2 * item[key] - 1
            record_scale(item[key], offset + scale / 2, scale / 2)
        return item


def record_scale(
    image: MetaTensor, offset: torch.Tensor, scale: torch.Tensor, background: torch.Tensor | None = None
) -> None:
    """Record in the metadata that the file's intensity is value * scale + offset.

    Args:
        image: normalised volume (C, X, Y, Z).
        offset: (C,), intensity of the value 0.
        scale: (C,), intensity per unit of value.
        background: (C,), value of the background, whose intensity is 0 regardless of offset and scale; default no
            background.
    """
    image.meta.update(intensity_offset=offset.cpu(), intensity_scale=scale.cpu())
    if background is not None:
        image.meta["intensity_background"] = background.cpu()


def foreground_mask(image: MetaTensor, tolerance: float = 0.0) -> torch.Tensor:
    """Voxels that differ in any channel from the recorded background: (C, X, Y, Z) -> bool (1, X, Y, Z).

    All voxels if no background is recorded.

    Args:
        image: normalised scan, or a network's output for it.
        tolerance: largest difference that counts as background; network outputs are not exact.
    """
    if "intensity_background" not in image.meta:
        return torch.ones_like(image[:1], dtype=torch.bool)
    difference = (image - per_channel(image.meta["intensity_background"], image)).abs()
    return (difference > tolerance).any(dim=0, keepdim=True)


class RestoreIntensityd(MapTransform):
    """Map normalised volumes (such as translations) back to intensity units.

    Args:
        keys: volumes (C, X, Y, Z) on the preprocessed grid.
        source_key: preprocessed image whose metadata hold the scale; its background, if any, becomes 0.
        limits: intensities of the values -1 and 1, for volumes of a modality other than the source's; its scale and
            background are then ignored.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str = "image", limits: tuple[float, float] | None = None
    ) -> None:
        super().__init__(keys)
        self.source_key, self.limits = source_key, limits

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return value * scale + offset."""
        item = dict(data)
        source = item[self.source_key]
        for key in self.key_iterator(item):
            if self.limits is not None:
                low, high = self.limits
                item[key] = (item[key] + 1) / 2 * (high - low) + low
                continue
            offset, scale = (per_channel(source.meta[f"intensity_{name}"], item[key]) for name in ("offset", "scale"))
            item[key] = (item[key] * scale + offset) * foreground_mask(source)
        return item


def per_channel(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Reshape values (C,) to broadcast over an image (C, ...)."""
    return values.reshape(-1, *[1] * (image.ndim - 1)).to(image.device, torch.float32)
