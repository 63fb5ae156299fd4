"""Preprocessing of brain MR volumes, the same for the preparation of training data and for inference.

Source: Vorontsov et al., "Towards annotation-efficient segmentation via image-to-image translation",
section on brain data: mean-centred over the brain, divided by five standard deviations, brain voxels only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import (
    AsDiscreted,
    Compose,
    CropForeground,
    CropForegroundd,
    DeleteItemsd,
    EnsureTyped,
    MapTransform,
    MaskIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from monai.utils import ensure_tuple

from transeg.transforms.load import LoadVolumed, VolumeError

logger = logging.getLogger(__name__)


def brain_preprocessing(
    keys: KeysCollection = ("image",),
    label_keys: KeysCollection = (),
    channels: int = 4,
    pixdim: float = 2.0,
    size: Sequence[int] = (120, 120),
    clip: bool = True,
    mask_key: str | None = None,
    allowed_labels: Sequence[int] = (0, 1, 2, 3, 4),
) -> Compose:
    """Make the transform from NIfTI files to normalised, centred volumes (undone by monai's `Invertd`).

    The brain is every voxel that is non-zero in any channel. The volume is turned to RAS, resampled to
    isotropic voxels, and cropped or padded in X and Y so that the middle of the brain's bounding box is the
    middle of the image: a cut at mid-width gives the two half-slices. Z keeps its length. Intensities:
    (x - mean) / (5 std) over the brain, for each channel; 0 outside.

    Args:
        keys: image volumes, see `LoadVolumed` for the accepted values; all are centred on the first.
        label_keys: label volumes, merged to 0 and 1 (label > 0) and resampled to the nearest neighbour.
        channels: number of channels of the images.
        pixdim: isotropic voxel size in mm (paper: 1.0).
        size: (X, Y) of a slice in voxels (paper: (240, 240)).
        clip: clip intensities to [-1, 1]; the paper clips after the augmentation.
        mask_key: key of a brain mask file, for images whose background is not zero; voxels outside it are
            set to 0.
        allowed_labels: values that a label file may hold (BraTS: 0 to 4).

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (C, X, Y, Z) and (1, X, Y, Z).
        The intensity scale is kept in the image's meta data ("brain_mean", "brain_std"), see
        `RestoreIntensityd`.
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
        Spacingd((*volumes, "_brain"), pixdim=(pixdim,) * 3, mode=(*modes, "nearest")),
        MaskIntensityd(images, mask_key="_brain"),
        DeleteItemsd("_brain"),
        CentreBraind(volumes, source_key=images[0], size=size),
        NormaliseBraind(images),
    ]
    if clip:
        steps.append(ScaleIntensityRanged(images, a_min=-1, a_max=1, b_min=-1, b_max=1, clip=True))
    return Compose([*steps, EnsureTyped(volumes, dtype=torch.float32)])


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


class _CentreBrain(CropForeground):
    """Crop or pad X and Y to `size` around the middle of the brain's bounding box; other axes keep their
    extent."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = tuple(size)

    def compute_bounding_box(self, img: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Return the first corner of the box and the corner behind its last voxel; both may lie outside."""
        mask = brain_mask(img)[0].cpu().numpy()
        if not mask.any():
            raise VolumeError(f"{_name(img)}: no brain (no voxel is non-zero); check the image and its mask")
        if mask.mean() > 0.99:
            logger.warning("%s: no zero background, so all of it counts as brain; give a mask", _name(img))
        start, end = np.zeros(mask.ndim, dtype=int), np.array(mask.shape)
        for axis, length in enumerate(self.size):
            along = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
            start[axis] = (along[0] + along[-1] + 1) // 2 - length // 2
            end[axis] = start[axis] + length
            if along[0] < start[axis] or along[-1] >= end[axis]:
                logger.warning(
                    "%s: the brain spans %d voxels along axis %d, more than the slice size %d; "
                    "the rest is cut off and counted as background",
                    _name(img), along[-1] - along[0] + 1, axis, length,
                )  # fmt: skip
        return start, end


class CentreBraind(CropForegroundd):
    """Crop or pad X and Y of all keys to `size`, centred on the brain of `source_key`. Invertible."""

    def __init__(self, keys: KeysCollection, source_key: str, size: Sequence[int]) -> None:
        super().__init__(keys, source_key, start_coord_key=None, end_coord_key=None)
        self.cropper = _CentreBrain(size)


class NormaliseBraind(MapTransform):
    """Make mean 0 and standard deviation 1/5 over the brain, for each channel; 0 outside the brain.

    Not undone by `Invertd`, which must leave masks and probabilities alone; `RestoreIntensityd` undoes it.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Normalise (C, X, Y, Z) and note mean and standard deviation (C,) in the meta data."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            brain = brain_mask(image)
            voxels = image.as_tensor()[:, brain[0].as_tensor()].double()
            mean, scale = voxels.mean(dim=1), 5 * voxels.std(dim=1, correction=0)
            constant = torch.nonzero(scale <= 1e-6 * mean.abs()).flatten().tolist()
            if constant:
                raise VolumeError(f"{_name(image)}: channel(s) {constant} constant over the brain; replace the file")
            item[key] = (image - _column(mean, image)) / _column(scale, image) * brain
            item[key].meta.update(brain_mean=mean.cpu(), brain_std=scale.cpu() / 5)
        return item


class RestoreIntensityd(MapTransform):
    """Give a normalised volume (such as a translation) the intensity units of its source image again.

    Args:
        keys: volumes (C, X, Y, Z) on the preprocessed grid.
        source_key: the preprocessed image; voxels outside its brain become 0.
    """

    def __init__(self, keys: KeysCollection, source_key: str = "image") -> None:
        super().__init__(keys)
        self.source_key = source_key

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return x * 5 std + mean inside the brain of the source."""
        item = dict(data)
        source = item[self.source_key]
        for key in self.key_iterator(item):
            mean, std = (_column(source.meta[name], item[key]) for name in ("brain_mean", "brain_std"))
            item[key] = (item[key] * 5 * std + mean) * brain_mask(source)
        return item


def _column(values: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    return values.reshape(-1, *[1] * (image.ndim - 1)).to(image.device, torch.float32)


def _name(image: torch.Tensor) -> str:
    return str(image.meta.get("filename_or_obj", "volume")) if isinstance(image, MetaTensor) else "volume"
