"""From the units of a scan to those of a network, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from transeg.errors import VolumeError
from transeg.files import file_name


class ScaleRanged(MapTransform):
    """Map the `lower` to `upper` percentiles of each volume to 0 to 1 and cut off what lies beyond.

    One rule for all scans, whatever their grade of disease, so that intensities of two domains can be compared. Not
    undone by `Invertd`, which must leave masks alone; `RestoreIntensityd` undoes it (what was cut off stays so).

    Raises:
        VolumeError: constant intensity.
    """

    def __init__(self, keys: KeysCollection, lower: float = 0.0, upper: float = 99.5) -> None:
        super().__init__(keys)
        self.shares = torch.tensor([lower / 100, upper / 100], dtype=torch.float64)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Scale (C, X, Y, Z), channels apart, and note offset and scale (C,) in the meta data."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            voxels = image.as_tensor().double().flatten(1).sort(dim=1).values
            # torch.quantile refuses large volumes
            position = self.shares * (voxels.shape[1] - 1)
            below, above = voxels[:, position.floor().long()], voxels[:, position.ceil().long()]
            low, high = (below + (above - below) * position.frac()).unbind(dim=1)
            constant = torch.nonzero(high <= low).flatten().tolist()
            if constant:
                raise VolumeError(f"{file_name(image)}: channel(s) {constant} of constant intensity; replace the file")
            item[key] = ((image - per_channel(low, image)) / per_channel(high - low, image)).clamp(0, 1)
            record_scale(item[key], low, high - low)
        return item


class WindowRanged(MapTransform):
    """Map the intensities `low` to `high`, in the units of the file, to 0 to 1 and cut off what lies beyond.

    For CT, whose units (HU) are the same in every scan; undone as `ScaleRanged` is.
    """

    def __init__(self, keys: KeysCollection, low: float, high: float) -> None:
        super().__init__(keys)
        self.low, self.high = low, high

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Scale (C, X, Y, Z) and note offset and scale (C,) in the meta data."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            item[key] = ((image - self.low) / (self.high - self.low)).clamp(0, 1)
            record_scale(
                item[key], torch.full((len(image),), self.low), torch.full((len(image),), self.high - self.low)
            )
        return item


class SignedRanged(MapTransform):
    """Map [0, 1] to [-1, 1], the range of tanh, and keep the noted scale right."""

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Map (C, X, Y, Z)."""
        item = dict(data)
        for key in self.key_iterator(item):
            offset, scale = (item[key].meta[name] for name in ("intensity_offset", "intensity_scale"))
            item[key] = 2 * item[key] - 1
            record_scale(item[key], offset + scale / 2, scale / 2)
        return item


def record_scale(
    image: torch.Tensor, offset: torch.Tensor, scale: torch.Tensor, background: torch.Tensor | None = None
) -> None:
    """Note in the meta data that value * scale + offset (C,) is the intensity in the file.

    Args:
        image: a MetaTensor (C, X, Y, Z).
        offset: intensity of the value 0.
        scale: intensity of a difference of 1.
        background: value (C,) of the background, whose intensity is 0 whatever offset and scale say; default there is
            no background.
    """
    image.meta.update(intensity_offset=offset.cpu(), intensity_scale=scale.cpu())
    if background is not None:
        image.meta["intensity_background"] = background.cpu()


def foreground_mask(image: torch.Tensor, tolerance: float = 0.0) -> torch.Tensor:
    """Voxels that differ in any channel from the background noted in the meta data: (C, X, Y, Z) -> (1, X, Y, Z).

    All voxels where none is noted.

    Args:
        image: normalised, such as a scan, or what a network made of it.
        tolerance: difference that still is background; a network does not hit a value exactly.
    """
    if "intensity_background" not in image.meta:
        return torch.ones_like(image[:1], dtype=torch.bool)
    difference = (image - per_channel(image.meta["intensity_background"], image)).abs()
    return (difference > tolerance).any(dim=0, keepdim=True)


class RestoreIntensityd(MapTransform):
    """Give a normalised volume (such as a translation) the intensity units of its source image again.

    Args:
        keys: volumes (C, X, Y, Z) on the preprocessed grid.
        source_key: the preprocessed image, whose meta data hold the scale; the volumes become 0 in its background, if
            it has one.
        limits: intensities of the values -1 and 1, for volumes of another modality than the source. Its scale and
            background are then not looked at.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str = "image", limits: tuple[float, float] | None = None
    ) -> None:
        super().__init__(keys)
        self.source_key, self.limits = source_key, limits

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
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
    """Values (C,) in a shape that broadcasts over an image (C, ...)."""
    return values.reshape(-1, *[1] * (image.ndim - 1)).to(image.device, torch.float32)
