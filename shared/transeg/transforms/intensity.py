"""Intensity normalisation and its inverse.

Sources of the normalisation over a foreground: Vorontsov et al., section on brain data: mean-centred over the brain and
divided by five standard deviations, brain voxels only. Andermatt et al. 2018, section 2.5: N(0, 1/3) over non-zero
voxels (read as a standard deviation of 1/3), clipped to [-1, 1].
"""

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


class NormaliseForegroundd(MapTransform):
    """Normalise each channel to mean 0 and standard deviation 1 / `num_std` over the foreground.

    `NormalizeIntensityd(nonzero=True, channel_wise=True)` would use each channel's own non-zero voxels, and does not
    record the scale. `Invertd` does not undo this (it must not touch masks and probabilities); `RestoreIntensityd`
    does, except for clipping.

    Args:
        keys: volumes (C, X, Y, Z).
        num_std: number of standard deviations mapped to 1.
        zero_background: keep the background at 0; otherwise it becomes -1, the darkest value, whatever the intensity 0
            of the scan means. (Andermatt et al. do not say.)
        clip: clip to [-1, 1].
        mask_key: key of the foreground (1, X, Y, Z); default: voxels that are non-zero in any channel.

    Raises:
        VolumeError: a channel is constant over the foreground.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_std: float = 5.0,
        zero_background: bool = True,
        clip: bool = False,
        mask_key: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.num_std, self.zero_background, self.limit = num_std, zero_background, 1.0 if clip else float("inf")
        self.mask_key = mask_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise (C, X, Y, Z); record the scale and the background value in the metadata."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            # plain tensors: of several MetaTensors, torch.where would keep the record of operations of the first
            inside = (image if self.mask_key is None else item[self.mask_key]).as_tensor() != 0
            inside = inside.any(dim=0, keepdim=True)
            voxels = image.as_tensor()[:, inside[0]].double()
            mean, scale = voxels.mean(dim=1), self.num_std * voxels.std(dim=1, correction=0)
            constant = torch.nonzero(scale <= 1e-6 * mean.abs()).flatten().tolist()
            if constant:
                raise VolumeError(
                    f"{file_name(image)}: channel(s) {constant} constant over the foreground; replace the file"
                )
            offset, scales = per_channel(mean, image), per_channel(scale, image)
            background = torch.full_like(offset, 0.0 if self.zero_background else -1.0)
            values = ((image - offset) / scales).clamp(-self.limit, self.limit)
            # foreground voxels equal to the background (mostly clipped ones) move by one ulp, to remain foreground
            values = torch.where((values == background).all(dim=0), values.nextafter(torch.ones_like(values)), values)
            item[key] = torch.where(inside, values, background)
            record_scale(item[key], mean, scale, background.flatten())
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


def nonzero_mask(image: torch.Tensor) -> torch.Tensor:
    """Voxels that are non-zero in any channel: (C, ...) -> bool (1, ...)."""
    return (torch.as_tensor(image) != 0).any(dim=0, keepdim=True)


def per_channel(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Reshape values (C,) to broadcast over an image (C, ...)."""
    return values.reshape(-1, *[1] * (image.ndim - 1)).to(image.device, torch.float32)
