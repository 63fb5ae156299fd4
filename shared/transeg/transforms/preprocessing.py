"""From the files of a scan to what a network sees, by the recipe of the data: for preparation and inference alike.

Keys of a recipe that this module reads (others are a method's own):

channels: names, in order.
pixdim: voxel size in mm, isotropic; or three sizes in the plane and across the slices, -1 keeps that of the scan.
image_size: (X, Y) of a slice or (X, Y, Z) of a volume in voxels.
axis: "axial" (default), "coronal" or "sagittal": the slices, which lie along the last axis.
foreground: how the region of interest is found. "zero" (default): voxels that differ from a constant background;
    "threshold": the body, brighter than air, see `body`; "mask": the item's own mask; "none": everything.
crop: "foreground" (default), centred on it; "centre", on the volume; or a point (x, y, z) in mm.
normalise: "std" (default), mean 0 and standard deviation 1 / `num_std` over the foreground, outside it background;
    "percentiles", those up to `upper` to [-1, 1]; "window", `window` to [-1, 1].
window: (low, high) in the units of the file; for "std", intensities are clipped to it first.
zero_background: for "std", background is 0 (default) or -1.
label_values: by name, values in label files; the background may have some too. Default: all above 0 are one class.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
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
    ScaleIntensityRanged,
    Transform,
)
from monai.utils import ensure_tuple

from transeg.errors import DataError, VolumeError
from transeg.files import file_name
from transeg.metrics.silhouette import body
from transeg.transforms.centre import CentreForegroundd, CropAtCentred
from transeg.transforms.checks import CheckHounsfieldd
from transeg.transforms.familiarity import scan_features
from transeg.transforms.intensity import (
    NormaliseForegroundd,
    ScaleRanged,
    SignedRanged,
    WindowRanged,
    foreground_mask,
)
from transeg.transforms.load import LoadVolumed
from transeg.transforms.spacing import ResampleVolumed

AXES = {"axial": "RAS", "coronal": "RSA", "sagittal": "ASR"}  # the last code is that of the slices
FOREGROUNDS = ("zero", "threshold", "mask", "none")
CROPS = ("foreground", "centre")
NORMALISATIONS = ("std", "percentiles", "window")
FOREGROUND = "_foreground"  # key while preprocessing
CENTRE = "crop_centre"  # key in the meta data of the image


def volume_preprocessing(
    recipe: Mapping[str, Any],
    keys: KeysCollection = ("image",),
    label_keys: KeysCollection = (),
    clip: bool = True,
    presence: bool = False,
) -> Compose:
    """Compose: load, reorient, resample, crop and normalise (invertible by `Invertd`).

    An item's "mask" file restricts the foreground, whatever the rule.

    Args:
        recipe: see above.
        keys: image volumes, see `LoadVolumed`; all are centred on the first.
        label_keys: label volumes, resampled with nearest-neighbour interpolation.
        clip: clip intensities normalised by "std" to [-1, 1].
        presence: turn an item's "presence", (first, last) of each range of slices as counted in the file, True or
            False, into a volume of that name.

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (C, X, Y, Z) and (1, X, Y, Z). The intensity
        scale is stored in the image's metadata, see `RestoreIntensityd`.

    Raises:
        DataError: a value that a key of the recipe does not have.
    """
    check_recipe(recipe)
    if recipe["pixdim"] is None:
        raise DataError(
            "these data or weights are of images without a grid in mm, such as slices stretched to an organ, by which "
            "whole scans cannot be segmented; prepare scans with data_prep.prepare"
        )
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    axes, rule, pixdim = AXES[recipe.get("axis", "axial")], recipe.get("foreground", "zero"), recipe["pixdim"]
    masked = recipe.get("normalise", "std") == "std"
    volumes = (*images, *labels, *(["presence"] if presence else []), FOREGROUND)
    modes = ("bilinear",) * len(images) + ("nearest",) * (len(volumes) - len(images))
    spacing = tuple(pixdim) if isinstance(pixdim, Sequence) else (pixdim,) * 3
    return Compose(
        [
            LoadVolumed(images, len(recipe["channels"])),
            CheckHounsfieldd(images, recipe.get("window")),
            *label_loading(recipe, labels, like=images[0]).transforms,
            *([_MarkSlicesd(images[0], axes)] if presence else []),
            _Foregroundd(images, rule, _background(recipe) if masked else None),
            *_scaling(recipe, images),  # over the whole scan
            Orientationd(volumes, axcodes=axes, labels=None),
            ResampleVolumed(volumes, pixdim=spacing, mode=modes),
            *([_Bodyd(images[0])] if rule == "threshold" else []),
            # again: interpolation blurs the foreground into the voxels around it
            *([MaskIntensityd(images, mask_key=FOREGROUND)] if masked else []),
            *_cropping(volumes, images[0], recipe),
            _normalisation(recipe, images, clip),
            DeleteItemsd(FOREGROUND),
            EnsureTyped((*images, *labels), dtype=torch.float32),
        ]
    )


def _background(recipe: Mapping[str, Any]) -> float:
    """Where the normalisation by "std" puts the background, in standard deviations from the mean."""
    return 0.0 if recipe.get("zero_background", True) else -float(recipe.get("num_std", 5.0))


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Raise DataError if a key of a recipe has a value that it cannot have."""
    known = {"axis": tuple(AXES), "foreground": FOREGROUNDS, "normalise": NORMALISATIONS}
    for name, values in known.items():
        if recipe.get(name, values[0]) not in values:
            raise DataError(f"{name} is {recipe[name]!r}; expected {', '.join(values)}")
    if recipe.get("normalise") == "window" and not recipe.get("window"):
        raise DataError("normalise is 'window', but there is no window (LOW, HIGH) of intensities; set it")
    crop = recipe.get("crop", "foreground")
    if isinstance(crop, str) and crop not in CROPS:
        raise DataError(f"crop is {crop!r}; expected {', '.join(CROPS)}, or (x, y, z) in mm")


def label_loading(recipe: Mapping[str, Any], keys: KeysCollection, like: str | None = None) -> Compose:
    """Compose: load label files (1, X, Y, Z) as the classes of a recipe, 0 for background; they may be empty.

    Args:
        recipe: with "labels" and, optionally, "label_values".
        keys: label volumes.
        like: key of the image, loaded or not, whose grid they must have.
    """
    labels = ensure_tuple(keys)
    if not labels:
        return Compose([])
    values = label_classes(recipe)
    if values is None:
        return Compose([LoadVolumed(labels, like=like, may_be_empty=True), AsDiscreted(labels, threshold=0.5)])
    return Compose([LoadVolumed(labels, allowed_labels=values, like=like)])


def label_classes(recipe: Mapping[str, Any]) -> dict[int, int] | None:
    """Class by value in label files; None if all values above 0 are one class."""
    values = recipe.get("label_values")
    if values is None:
        return None
    classes = {value: recipe["labels"].index(name) for name, found in values.items() for value in found}
    return {0: 0} | classes


def _scaling(recipe: Mapping[str, Any], images: tuple) -> list[Transform]:
    normalise, window = recipe.get("normalise", "std"), recipe.get("window")
    if normalise == "percentiles":
        return [ScaleRanged(images, upper=recipe.get("upper", 99.5))]
    if normalise == "window":
        return [WindowRanged(images, *recipe["window"])]
    if window is None:
        return []
    low, high = window
    return [ScaleIntensityRanged(images, a_min=low, a_max=high, b_min=low, b_max=high, clip=True)]


def _normalisation(recipe: Mapping[str, Any], images: tuple, clip: bool) -> Transform:
    if recipe.get("normalise", "std") != "std":
        return SignedRanged(images)
    num_std, zero = recipe.get("num_std", 5.0), recipe.get("zero_background", True)
    return NormaliseForegroundd(images, num_std, zero, clip, mask_key=FOREGROUND)


def _cropping(volumes: tuple, image: str, recipe: Mapping[str, Any]) -> list[Transform]:
    crop, size = recipe.get("crop", "foreground"), recipe["image_size"]
    if crop == "foreground":
        name = {"threshold": "body"}.get(recipe.get("foreground", "zero"), "foreground")
        return [CentreForegroundd(volumes, FOREGROUND, size, select_fn=_positive, name=name)]
    if crop == "centre":
        return [CentreForegroundd(volumes, FOREGROUND, size, select_fn=torch.ones_like, name="scan")]
    return [_Pointd(image, crop), CropAtCentred(volumes, image, size, CENTRE)]


def _positive(mask: torch.Tensor) -> torch.Tensor:
    return mask > 0.5


class _Foregroundd(MapTransform):
    """Add the foreground of the first image, float32 (1, X, Y, Z), under `FOREGROUND`; the "mask" file is used up.

    Args:
        keys: images (C, X, Y, Z).
        rule: see above.
        level: set voxels outside to this many standard deviations from the mean of the foreground, as they will be
            normalised, so that voxels at its edge, interpolated between the two, do not depend on what 0 means in the
            scan. None: leave them.
    """

    def __init__(self, keys: KeysCollection, rule: str, level: float | None) -> None:
        super().__init__(keys)
        self.rule, self.level, self.load = rule, level, LoadVolumed("mask", like=str(self.keys[0]))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        image = item[self.keys[0]]
        found = foreground(image) if self.rule == "zero" else torch.ones_like(image.as_tensor()[:1], dtype=torch.bool)
        if "mask" in item:
            found = found & (self.load(item)["mask"].as_tensor() != 0)
            del item["mask"]
        elif self.rule == "mask":
            raise VolumeError(f"{file_name(image)}: no foreground mask; give one, or choose another foreground rule")
        item[FOREGROUND] = MetaTensor(found.float(), meta=dict(image.meta))
        if self.level is not None and found.any():
            item |= {key: _filled(item[key], found[0], self.level) for key in self.keys}
        return item


def _filled(image: MetaTensor, found: torch.Tensor, level: float) -> MetaTensor:
    filled = image.clone()
    for channel in filled.as_tensor():
        std, mean = torch.std_mean(channel[found], correction=0)
        channel[~found] = mean + level * std
    return filled


class _Bodyd(MapTransform):
    """Restrict the foreground to the body that an image (C, X, Y, Z) shows, see `body`."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        found = torch.from_numpy(body(data[self.keys[0]].numpy(force=True)))
        return {**data, FOREGROUND: data[FOREGROUND] * found}


class _MarkSlicesd(MapTransform):
    """Turn "presence", ranges of slices of an image or True or False, into a volume (1, X, Y, Z) of 0 and 1.

    Args:
        key: the image (C, X, Y, Z) on the grid of its file.
        axes: orientation whose last axis is that of the slices.
    """

    def __init__(self, key: str, axes: str) -> None:
        super().__init__(key)
        self.axes = axes

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        item = dict(data)
        image, ranges = item[self.keys[0]], item["presence"]
        volume = torch.full_like(image.as_tensor()[:1], float(ranges is True))
        axis = slice_axis(image.affine.numpy(), self.axes)
        slices = volume.shape[1 + axis]
        for first, last in () if isinstance(ranges, bool) else ranges:
            if last >= slices:
                raise VolumeError(
                    f"{file_name(image)}: presence names slice {last}, but its slices are 0 to {slices - 1}; "
                    "correct the table"
                )
            volume.narrow(1 + axis, first, last - first + 1).fill_(1)
        item["presence"] = MetaTensor(volume, meta=dict(image.meta))
        return item


class _Pointd(MapTransform):
    """Record a point (x, y, z) in mm in the metadata of an image."""

    def __init__(self, key: str, point: Sequence[float]) -> None:
        super().__init__(key)
        self.point = torch.tensor([float(value) for value in point], dtype=torch.float64)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        image = data[self.keys[0]].clone()
        image.meta[CENTRE] = self.point
        return {**data, self.keys[0]: image}


def slice_axis(affine: np.ndarray, axes: str) -> int:
    """Axis of a file, with its affine (4, 4), along which the slices of an orientation lie, one of `AXES`."""
    world = next(axis for axis, codes in enumerate(("LR", "PA", "IS")) if axes[-1] in codes)
    return nib.io_orientation(affine)[:, 0].tolist().index(world)


def scan_slice_axis(affine: np.ndarray, recipe: Mapping[str, Any]) -> int:
    """Axis of a file, with its affine (4, 4), along which the slices of a recipe lie; "native": the last one."""
    axes = AXES.get(recipe.get("axis", "axial"))
    return 2 if axes is None else slice_axis(affine, axes)


def foreground(image: torch.Tensor) -> torch.Tensor:
    """Voxels that differ from the background in any channel: (C, X, Y, Z) -> bool (1, X, Y, Z).

    The background is the value that most corners of a channel share, otherwise 0: a scan that was shifted, or
    normalised as a whole, has another.
    """
    channels = image.as_tensor() if isinstance(image, MetaTensor) else image
    corners = channels[:, :: channels.shape[1] - 1 or 1, :: channels.shape[2] - 1 or 1, :: channels.shape[3] - 1 or 1]
    values, counts = zip(*(corner.unique(return_counts=True) for corner in corners.flatten(1)), strict=True)
    common = [
        value[count.argmax()] if 2 * count.max() > count.sum() else value.new_zeros(())
        for value, count in zip(values, counts, strict=True)
    ]
    return (channels != torch.stack(common).reshape(-1, 1, 1, 1)).any(dim=0, keepdim=True)


class Scan(NamedTuple):
    """A preprocessed scan and what is known about it."""

    image: np.ndarray  # (C, X, Y, Z)
    foreground: np.ndarray  # bool (X, Y, Z)
    label: np.ndarray | None  # class (X, Y, Z); None without a label file
    present: np.ndarray | None  # bool (Z,): slices that show the disease by image-level labels; None: not known
    spacing: tuple[float, ...]  # mm
    features: np.ndarray | None = None  # see `scan_features`

    def present_in(self, slices: Sequence[int]) -> np.ndarray | None:
        """Which of some slices show the disease by image-level labels: none if not known; None where a label tells."""
        if self.label is not None:
            return None
        return np.zeros(len(slices), bool) if self.present is None else self.present[list(slices)]


def load_scan(recipe: Mapping[str, Any], item: Mapping[str, Any], clip: bool = True) -> Scan:
    """Load and preprocess {"image": files}; "mask", "label" and "presence" are optional.

    Args:
        recipe: see above.
        item: of one case. "presence": True, False, or (first, last) of each range of slices, as counted in the file.
        clip: see `volume_preprocessing`.

    Raises:
        VolumeError: a file cannot be used.
    """
    labels, presence = ("label",) if "label" in item else (), item.get("presence")
    ranged = presence is not None and not isinstance(presence, bool)
    wanted = ("image", "mask", "spacing", *labels, *(["presence"] if ranged else []))
    preprocess = volume_preprocessing(recipe, "image", labels, clip, presence=ranged)
    volumes = preprocess({key: item[key] for key in wanted if key in item})
    image = volumes["image"]
    present = None if presence is None else np.full(image.shape[-1], presence is True)
    return Scan(
        image.numpy(),
        foreground_mask(image)[0].numpy(),
        volumes["label"][0].numpy().astype(np.uint8) if labels else None,
        volumes["presence"].numpy().any(axis=(0, 1, 2)) if ranged else present,
        tuple(image.pixdim.tolist()),
        scan_features(image),
    )
