"""Preprocessing of brain MR volumes, the same for the preparation of training data and for inference.

Sources: Vorontsov et al., "Towards annotation-efficient segmentation via image-to-image translation", section on brain
data: mean-centred over the brain, divided by five standard deviations, brain voxels only. Andermatt et al. 2018,
section 2.5: N(0, 1/3) over the non-zero voxels, clipped to [-1, 1]; taken as a standard deviation of 1/3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    AsDiscreted,
    Compose,
    DeleteItemsd,
    EnsureTyped,
    MapTransform,
    MaskIntensityd,
    Orientationd,
)
from monai.utils import ensure_tuple

from transeg.errors import VolumeError
from transeg.files import file_name
from transeg.transforms.centre import CentreForegroundd
from transeg.transforms.intensity import per_channel, record_scale
from transeg.transforms.load import LoadVolumed
from transeg.transforms.spacing import ResampleVolumed


def brain_preprocessing(
    keys: KeysCollection = ("image",),
    label_keys: KeysCollection = (),
    channels: int = 4,
    pixdim: float = 2.0,
    size: Sequence[int] = (120, 120),
    clip: bool = True,
    mask_key: str | None = None,
    allowed_labels: Sequence[int] = (0, 1, 2, 3, 4),
    num_std: float = 5.0,
    zero_background: bool = True,
) -> Compose:
    """Make the transform from NIfTI files to normalised, centred volumes (undone by monai's `Invertd`).

    The brain is every voxel that is non-zero in any channel. The volume is turned to RAS, resampled to
    isotropic voxels, and cropped or padded in X and Y so that the middle of the brain's bounding box is the
    middle of the image: a cut at mid-width gives the two half-slices. Z keeps its length, unless `size` has it.
    Intensities: see `NormaliseBraind`.

    Args:
        keys: image volumes, see `LoadVolumed` for the accepted values; all are centred on the first.
        label_keys: label volumes, merged to 0 and 1 (label > 0) and resampled to the nearest neighbour.
        channels: number of channels of the images.
        pixdim: isotropic voxel size in mm (paper: 1.0).
        size: (X, Y) of a slice in voxels (paper: (240, 240)), or (X, Y, Z) of the volume.
        clip: clip intensities to [-1, 1]; the paper clips after the augmentation.
        mask_key: key of a brain mask file, for images whose background is not zero; voxels outside it are
            set to 0.
        allowed_labels: values that a label file may hold (BraTS: 0 to 4).
        num_std: standard deviations that become 1 (Vorontsov: 5, Andermatt: 3).
        zero_background: keep the background 0; else it gets the value of intensity 0 (Andermatt does not say).

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (C, X, Y, Z) and (1, X, Y, Z).
        The intensity scale is kept in the image's meta data, see `RestoreIntensityd`.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    volumes = images + labels
    modes = ("bilinear",) * len(images) + ("nearest",) * len(labels)
    steps = [LoadVolumed(images, channels)]
    if labels:
        steps += [
            LoadVolumed(labels, allowed_labels=allowed_labels, like=images[0]),
            AsDiscreted(labels, threshold=0.5),
        ]
    if mask_key is not None:
        steps += [
            LoadVolumed(mask_key, like=images[0]),
            MaskIntensityd(images, mask_key=mask_key),
            DeleteItemsd(mask_key),
        ]
    steps += [
        # resampled on its own: interpolation leaves traces of the brain in the voxels around it
        _BrainMaskd(images[0], "_brain"),
        Orientationd((*volumes, "_brain"), axcodes="RAS", labels=None),
        ResampleVolumed((*volumes, "_brain"), pixdim=(pixdim,) * 3, mode=(*modes, "nearest")),
        MaskIntensityd(images, mask_key="_brain"),
        DeleteItemsd("_brain"),
        CentreForegroundd(volumes, source_key=images[0], size=size, select_fn=brain_mask, name="brain"),
        NormaliseBraind(images, num_std, zero_background, clip),
        EnsureTyped(volumes, dtype=torch.float32),
    ]
    return Compose(steps)


def brain_mask(image: torch.Tensor) -> torch.Tensor:
    """Voxels that are non-zero in any channel: (C, ...) -> bool (1, ...)."""
    return (torch.as_tensor(image) != 0).any(dim=0, keepdim=True)


class _BrainMaskd(MapTransform):
    """Put the brain mask of an image, as float32 (1, X, Y, Z), under another key."""

    def __init__(self, key: str, output_key: str) -> None:
        super().__init__(key)
        self.output_key = output_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        image = data[self.keys[0]]
        return {**data, self.output_key: MetaTensor(brain_mask(image.as_tensor()).float(), meta=dict(image.meta))}


class NormaliseBraind(MapTransform):
    """Make mean 0 and standard deviation 1 / `num_std` over the brain, for each channel.

    Not undone by `Invertd`, which must leave masks and probabilities alone; `RestoreIntensityd` undoes it (what was
    clipped stays so).

    Args:
        keys: volumes (C, X, Y, Z), 0 outside the brain.
        num_std: standard deviations that become 1.
        zero_background: the background stays 0; else it goes through the same map, to -mean / (num_std * std).
        clip: clip to [-1, 1].

    Raises:
        VolumeError: a channel is constant over the brain.
    """

    def __init__(
        self, keys: KeysCollection, num_std: float = 5.0, zero_background: bool = True, clip: bool = False
    ) -> None:
        super().__init__(keys)
        self.num_std, self.zero_background, self.limit = num_std, zero_background, 1.0 if clip else float("inf")

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Normalise (C, X, Y, Z) and note the scale and the value of the background in the meta data."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            brain = brain_mask(image)
            voxels = image.as_tensor()[:, brain[0].as_tensor()].double()
            mean, scale = voxels.mean(dim=1), self.num_std * voxels.std(dim=1, correction=0)
            constant = torch.nonzero(scale <= 1e-6 * mean.abs()).flatten().tolist()
            if constant:
                raise VolumeError(
                    f"{file_name(image)}: channel(s) {constant} constant over the brain; replace the file"
                )
            offset, scales = per_channel(mean, image), per_channel(scale, image)
            background = (torch.zeros_like(offset) if self.zero_background else -offset / scales).clamp(
                -self.limit, self.limit
            )
            values = ((image - offset) / scales).clamp(-self.limit, self.limit)
            # brain that looks like background, mostly clipped, moves by the least step so that it stays brain
            values = torch.where((values == background).all(dim=0), values.nextafter(torch.ones_like(values)), values)
            item[key] = torch.where(brain, values, background)
            record_scale(item[key], mean, scale, background.flatten())
        return item
