"""Preprocessing of brain MR volumes, identical for data preparation and inference.

Sources: Vorontsov et al., "Towards annotation-efficient segmentation via image-to-image translation", section on brain
data: mean-centred over the brain and divided by five standard deviations, brain voxels only. Andermatt et al. 2018,
section 2.5: N(0, 1/3) over non-zero voxels (read as a standard deviation of 1/3), clipped to [-1, 1].
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
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
    Transform,
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
    """Compose: load NIfTI files, reorient, resample, centre on the brain and normalise (invertible by `Invertd`).

    The brain is every voxel that is non-zero in any channel. Volumes are reoriented to RAS, resampled to isotropic
    voxels, and cropped or padded in X and Y to centre the brain's bounding box, so that splitting at mid-width gives
    the two half-slices. Z keeps its extent unless `size` includes it. Intensities: see `NormaliseBraind`.

    Args:
        keys: image volumes, see `LoadVolumed`; all are centred on the first.
        label_keys: label volumes, binarised (label > 0) and resampled with nearest-neighbour interpolation.
        channels: number of image channels.
        pixdim: isotropic voxel size in mm (paper: 1.0).
        size: (X, Y) of a slice in voxels (paper: (240, 240)), or (X, Y, Z) of the volume.
        clip: clip intensities to [-1, 1]; the paper clips after augmentation.
        mask_key: brain mask file, for images with a non-zero background; voxels outside are set to 0.
        allowed_labels: values that a label file may contain (BraTS: 0 to 4).
        num_std: number of standard deviations mapped to 1 (Vorontsov: 5, Andermatt: 3).
        zero_background: keep the background at 0; otherwise map it like intensity 0 (not stated by Andermatt).

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (C, X, Y, Z) and (1, X, Y, Z). The intensity
        scale is stored in the image's metadata, see `RestoreIntensityd`.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    volumes = images + labels
    modes = ("bilinear",) * len(images) + ("nearest",) * len(labels)
    steps: list[Transform] = [LoadVolumed(images, channels)]
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
        # resampled separately: interpolation blurs the brain into the surrounding voxels
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
    """Add the brain mask of an image, float32 (1, X, Y, Z), under another key."""

    def __init__(self, key: str, output_key: str) -> None:
        super().__init__(key)
        self.output_key = output_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image = data[self.keys[0]]
        return {**data, self.output_key: MetaTensor(brain_mask(image.as_tensor()).float(), meta=dict(image.meta))}


class NormaliseBraind(MapTransform):
    """Normalise each channel to mean 0 and standard deviation 1 / `num_std` over the brain.

    `NormalizeIntensityd(nonzero=True, channel_wise=True)` would use each channel's own non-zero voxels, and does not
    record the scale. `Invertd` does not undo this (it must not touch masks and probabilities); `RestoreIntensityd`
    does, except for clipping.

    Args:
        keys: volumes (C, X, Y, Z), 0 outside the brain.
        num_std: number of standard deviations mapped to 1.
        zero_background: keep the background at 0; otherwise map it too, to -mean / (num_std * std).
        clip: clip to [-1, 1].

    Raises:
        VolumeError: a channel is constant over the brain.
    """

    def __init__(
        self, keys: KeysCollection, num_std: float = 5.0, zero_background: bool = True, clip: bool = False
    ) -> None:
        super().__init__(keys)
        self.num_std, self.zero_background, self.limit = num_std, zero_background, 1.0 if clip else float("inf")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Normalise (C, X, Y, Z); record the scale and the background value in the metadata."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            brain = brain_mask(image)
            voxels = image.as_tensor()[:, torch.as_tensor(brain[0])].double()
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
            # brain voxels equal to the background (mostly clipped ones) move by one ulp, so that they remain brain
            values = torch.where((values == background).all(dim=0), values.nextafter(torch.ones_like(values)), values)
            item[key] = torch.where(brain, values, background)
            record_scale(item[key], mean, scale, background.flatten())
        return item
