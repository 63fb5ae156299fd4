"""Preprocessing of volumes of two domains, such as cardiac CT and MR, shared by data preparation and inference.

Source: Zhang, Yang, Zheng 2018, "Translating and segmenting multimodal medical volumes with cycle- and
shape-consistency generative adversarial network", section 5.1: volumes of 1.5 mm and 86 x 112 x 112 voxels around the
centre of the heart. The paper does not specify which axis is the short one; here it is the longitudinal axis Z, so a
volume is (X, Y, Z) = (112, 112, 86).
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureTyped, MapTransform, Orientationd, Resized
from monai.utils import ensure_tuple
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, gaussian_filter

from transeg.errors import ConfigError, DataError, VolumeError
from transeg.methods.cardiac.domains import ScaleDomaind
from transeg.methods.cardiac.recipe import AXES, CROPS, class_values
from transeg.transforms.centre import CropAtCentred, file_name
from transeg.transforms.intensity import SignedRanged
from transeg.transforms.load import LoadVolumed
from transeg.transforms.preprocessing import CENTRE
from transeg.transforms.spacing import ResampleVolumed

logger = logging.getLogger(__name__)


def cardiac_preprocessing(
    recipe: Mapping[str, Any],
    keys: KeysCollection = ("image",),
    label_keys: KeysCollection = (),
    modality: str = "auto",
    centre: str | Sequence[float] = "found",
    whole: bool = False,
    centre_key: str = "centre",
    mask_key: str = "mask",
) -> Compose:
    """Make the transform from files to scaled volumes of one size (inverted by MONAI's `Invertd`).

    The volume is scaled to [-1, 1] by the rule of its domain, turned to the axes of the recipe, resampled, and cropped
    or padded (with -1) to the recipe's size around its centre: the item's `centre_key`, (x, y, z) in mm, otherwise
    `centre`.

    Args:
        recipe: "channels", "domains" (see `check_domains`), "labels" and "label_values" (see `class_values`), and

            - "pixdim": mm; one number, or three of which -1 keeps the voxel size along that axis; None for slices
              without a reliable voxel size, which are resized;
            - "image_size": (X, Y, Z) in voxels;
            - "axis": the last axis of the volume, see `AXES`; default axial, which is RAS;
            - "crop": around what. "heart" (default), the centre of the item's mask or else `find_heart`; "foreground",
              that of the mask or else of the voxels brighter than the mean; "centre", the middle of the volume; "none",
              the same, and larger volumes are refused; or (x, y, z) in mm.

        keys: images, see `LoadVolumed` for the accepted values; all are cropped like the first.
        label_keys: label volumes; mapped to classes and resampled with nearest-neighbour interpolation.
        modality: name of the domain or "auto" (per item), see `ScaleDomaind`.
        centre: "found", by the rule of the recipe; "label", that of the first label instead of a heart's that would
            have to be found; or (x, y, z) in mm, in the coordinates of the file (RAS, as in nibabel and ITK-SNAP).
        whole: keep the full volume, which needs no centre.
        centre_key: key of an item's own centre, optional.
        mask_key: key of an item's own mask file, optional; non-zero in the heart or foreground, on any grid.

    Returns:
        Compose: item with file names -> item with float32 MetaTensors, images (C, X, Y, Z) and labels (1, X, Y, Z). The
        meta data of an image contain its "domain" and the intensity scale, see `RestoreIntensityd`.

    Raises:
        ConfigError: an unknown modality or centre.
        DataError: the recipe cannot be used.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    if isinstance(centre, str) and not (centre == "found" or (centre == "label" and labels)):
        raise ConfigError(f'centre must be "found", "label" (with a label key) or (x, y, z) in mm, got {centre!r}')
    axis, crop = recipe.get("axis", "axial"), recipe.get("crop", "heart")
    if axis not in AXES or (isinstance(crop, str) and crop not in CROPS):
        raise DataError(
            f"axis {axis}, crop {crop}: expected one of {', '.join(AXES)}, and {', '.join(CROPS)} or (x, y, z)"
        )
    volumes = images + labels
    steps: list[MapTransform] = [LoadVolumed(images, len(recipe["channels"]))]
    if labels:
        classes = class_values(recipe["labels"], recipe.get("label_values"))
        steps.append(LoadVolumed(labels, allowed_labels=classes, like=images[0]))
    steps.append(ScaleDomaind(images, recipe["domains"], modality))
    if AXES[axis] is not None:
        steps.append(Orientationd(volumes, axcodes=AXES[axis], labels=None))
    steps.append(_resampling(recipe["pixdim"], recipe["image_size"], images, labels))
    if not whole:
        label_key = labels[0] if labels and centre == "label" and crop == "heart" else None
        rule = crop if isinstance(centre, str) else centre
        size = recipe["image_size"]
        steps += [
            CropCentred(images[0], rule, size, label_key, centre_key, mask_key),
            CropAtCentred(volumes, images[0], size, CENTRE),
        ]
    return Compose([*steps, SignedRanged(images), EnsureTyped(volumes, dtype=torch.float32)])


def _resampling(
    pixdim: float | Sequence[float] | None, size: Sequence[int], images: tuple[str, ...], labels: tuple[str, ...]
) -> MapTransform:
    volumes, others = images + labels, ("nearest",) * len(labels)
    if pixdim is None:
        return Resized(volumes, (*size[:2], -1), mode=("trilinear",) * len(images) + others)
    sizes = np.broadcast_to(np.asarray(pixdim), 3).tolist()
    return ResampleVolumed(volumes, pixdim=sizes, mode=("bilinear",) * len(images) + others)


class CropCentred(MapTransform):
    """Record the centre of the crop in mm (3,) in the meta data of a volume, as "crop_centre".

    Args:
        keys: the volume (C, X, Y, Z), scaled to [0, 1].
        rule: "crop" of a recipe, see `cardiac_preprocessing`, or (x, y, z) in mm.
        size: (X, Y, Z) of the crop in voxels.
        label_key: key of a loaded label whose centre to take instead, if any.
        centre_key: see `cardiac_preprocessing`.
        mask_key: see `cardiac_preprocessing`.

    Raises:
        VolumeError: an empty label or mask, a centre that is not three numbers, or a volume that exceeds the size
            although nothing may be cropped.
    """

    def __init__(
        self,
        keys: KeysCollection,
        rule: str | Sequence[float],
        size: Sequence[int],
        label_key: str | None,
        centre_key: str,
        mask_key: str,
    ) -> None:
        super().__init__(keys)
        self.rule, self.size, self.label_key = rule, tuple(size), label_key
        self.centre_key, self.mask_key = centre_key, mask_key
        self.load_mask = LoadVolumed(mask_key)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the centre in the meta data of its image."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key].clone()
            image.meta[CENTRE] = self._centre(item, image)
            item[key] = image
        return item

    def _centre(self, item: Mapping[Hashable, Any], image: MetaTensor) -> torch.Tensor:
        if item.get(self.centre_key) is not None:
            return _position(item[self.centre_key], image)
        if self.rule in ("heart", "foreground") and item.get(self.mask_key) is not None:
            return _middle(self.load_mask({self.mask_key: item[self.mask_key]})[self.mask_key])
        if not isinstance(self.rule, str):
            return _position(self.rule, image)
        if self.label_key is not None:
            return _middle(item[self.label_key])
        if self.rule == "foreground":
            return _middle(cast(MetaTensor, image[:1] > image[:1].mean()))
        found = find_heart(image[0].numpy(), image.pixdim.tolist()) if self.rule == "heart" else None
        if self.rule == "heart" and found is None:
            logger.warning("%s: heart not found, using the volume centre; provide a centre or a mask", file_name(image))
        if self.rule == "none" and any(n > most for n, most in zip(image.shape[1:], self.size, strict=True)):
            raise VolumeError(
                f"{file_name(image)}: {[*image.shape[1:]]} voxels, more than {[*self.size]}, and nothing is to be "
                'cropped; set a larger size, or crop "centre"'
            )
        return _world(image, (np.array(image.shape[1:]) - 1) / 2 if found is None else found)


def find_heart(volume: np.ndarray, pixdim: float | Sequence[float]) -> np.ndarray | None:
    """Locate the heart coarsely: where bright compartments as thick as a chamber are densest.

    Blood is bright in contrast-enhanced CT and in MR. Voxels above 0.4 of the 98th percentile count, except structures
    thinner than 28 mm (vessels, ribs); the result is the maximum of their density over about 5 cm, weighted by
    proximity to the volume centre. Expect an error of 1 to 2 cm; unreliable without contrast agent, or if the liver or
    the chest wall is as bright.

    Args:
        volume: (X, Y, Z) in [0, 1].
        pixdim: voxel size in mm, one or three numbers.

    Returns:
        Position (3,) in voxels, or None if nothing is bright and thick.
    """
    sizes = np.broadcast_to(np.asarray(pixdim, dtype=float), 3)
    steps = np.maximum(1, np.round(4 / sizes)).astype(int)
    pooled = torch.nn.functional.avg_pool3d(torch.from_numpy(np.ascontiguousarray(volume))[None], steps.tolist())
    coarse, spacing = pooled[0].numpy(), steps * sizes
    smooth = gaussian_filter(coarse, 2.8 / spacing)
    bright = np.pad(smooth > 0.4 * np.percentile(smooth, 98), 1, mode="edge")
    inner = slice(1, -1)
    cores = (distance_transform_edt(bright, spacing) > 14)[inner, inner, inner]
    if not cores.any():
        return None
    thick = distance_transform_edt(~cores, spacing) <= 14
    offsets = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in thick.shape), indexing="ij", sparse=True)
    nearness = np.exp(-sum(offset**2 for offset in offsets) / (2 * 0.4**2))
    density = gaussian_filter(thick * nearness, 24 / spacing, mode="constant")
    return (np.array(np.unravel_index(density.argmax(), density.shape)) + 0.5) * steps - 0.5


def _middle(mask: MetaTensor) -> torch.Tensor:
    """Centre in mm of the bounding box of the non-zero voxels (1, X, Y, Z), without 1 % at either end of each axis."""
    voxels = np.argwhere(mask[0].numpy() > 0)
    if not len(voxels):
        raise VolumeError(f"{file_name(mask)}: empty, cannot locate its centre; correct or remove it")
    return _world(mask, np.quantile(voxels, (0.01, 0.99), axis=0).mean(axis=0))


def _world(image: MetaTensor, voxel: ArrayLike) -> torch.Tensor:
    affine = torch.as_tensor(image.affine, dtype=torch.float64)
    return affine[:3, :3] @ torch.as_tensor(np.asarray(voxel), dtype=torch.float64) + affine[:3, 3]


def _position(values: Any, image: torch.Tensor) -> torch.Tensor:
    found = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if found.shape != (3,) or not found.isfinite().all():
        raise VolumeError(f"{file_name(image)}: the centre must be (x, y, z) in mm, got {values}")
    return found
