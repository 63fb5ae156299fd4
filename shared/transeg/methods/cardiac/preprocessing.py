"""Preprocessing of cardiac CT and MR volumes, the same for the preparation of training data and for inference.

Source: Zhang, Yang, Zheng 2018, "Translating and segmenting multimodal medical volumes with cycle- and
shape-consistency generative adversarial network", section 5.1: volumes of 1.5 mm, 86 x 112 x 112 voxels around the
centre of the heart; the four chambers and the muscle of the left ventricle. The paper does not say which axis is the
short one; here it is the axis of the body, Z, so a volume is (X, Y, Z) = (112, 112, 86). The scaling of intensities,
which it leaves open, is the usual one of the MM-WHS data: HU -100 to 800, MR percentiles 0.5 to 99.5.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Compose, EnsureTyped, MapLabelValued, MapTransform, Orientationd
from monai.utils import ensure_tuple
from scipy.ndimage import distance_transform_edt, gaussian_filter

from transeg.errors import VolumeError
from transeg.methods.cardiac.modality import ScaleModalityd
from transeg.transforms.centre import CropAtCentred, file_name
from transeg.transforms.intensity import SignedRanged
from transeg.transforms.load import LoadVolumed
from transeg.transforms.spacing import ResampleVolumed

logger = logging.getLogger(__name__)

HEART_CLASSES = ("background", "Myo", "LA", "LV", "RA", "RV")
# MM-WHS value -> class: aorta (820) and pulmonary artery (850) are not among the paper's regions, one MR label holds a
# few 421; values of labels that are classes already stay.
HEART_LABELS = {0: 0, 205: 1, 420: 2, 421: 2, 500: 3, 550: 4, 600: 5, 820: 0, 850: 0} | {c: c for c in range(1, 6)}
CENTRE = "heart_centre"  # in the meta data of the image


def cardiac_preprocessing(
    keys: KeysCollection = ("image",),
    label_keys: KeysCollection = (),
    modality: str = "auto",
    pixdim: float = 1.5,
    size: Sequence[int] | None = (112, 112, 86),
    centre: str | Sequence[float] = "found",
    centre_key: str = "centre",
    mask_key: str = "mask",
) -> Compose:
    """Make the transform from NIfTI files to scaled volumes around the heart (undone by monai's `Invertd`).

    The volume is scaled (CT: HU -100 to 800 become -1 to 1; MR: the 0.5 and 99.5 percentiles of the whole volume),
    turned to RAS, resampled to isotropic voxels and cropped or padded (with -1) to `size` around the centre of the
    heart. That is the item's `centre_key` (x, y, z) in mm, or else the middle of the file under its `mask_key`, or
    else what `centre` says.

    Args:
        keys: image volumes of one channel, see `LoadVolumed` for the accepted values; all are cropped like the first.
        label_keys: label volumes with the values of MM-WHS or classes 0 to 5; they become the classes of
            `HEART_CLASSES`, resampled to the nearest neighbour.
        modality: "ct", "mr" or "auto", which tells them apart for each item, see `ScaleModalityd`.
        pixdim: voxel size in mm (paper: 1.5).
        size: (X, Y, Z) in voxels (paper: 112, 112, 86); None keeps the whole volume and needs no centre.
        centre: "label", the middle of the first label; "found", see `find_heart`; or (x, y, z) in mm, in the
            coordinates of the file (RAS, as nibabel and ITK-SNAP show them).
        centre_key: key of a centre that an item may have.
        mask_key: key of a file that an item may have, non-zero in the heart, on a grid of its own.

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (1, X, Y, Z). The image's meta data hold its
        "modality" and the intensity scale, see `RestoreIntensityd`.

    Raises:
        ValueError: an unknown modality or centre.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    if isinstance(centre, str) and not (centre == "found" or (centre == "label" and labels)):
        raise ValueError(f'centre must be "found", "label" (with a label key) or (x, y, z) in mm, got {centre!r}')
    volumes = images + labels
    modes = ("bilinear",) * len(images) + ("nearest",) * len(labels)
    steps = [LoadVolumed(images)]
    if labels:
        steps += [
            LoadVolumed(labels, allowed_labels=tuple(HEART_LABELS), like=images[0]),
            MapLabelValued(labels, list(HEART_LABELS), list(HEART_LABELS.values())),
        ]
    steps += [
        ScaleModalityd(images, modality),
        Orientationd(volumes, axcodes="RAS", labels=None),
        ResampleVolumed(volumes, pixdim=(pixdim,) * 3, mode=modes),
    ]
    if size is not None:
        label_key = labels[0] if labels else None
        steps += [
            HeartCentred(images[0], centre, label_key, centre_key, mask_key),
            CropAtCentred(volumes, images[0], size, CENTRE),
        ]
    return Compose([*steps, SignedRanged(images), EnsureTyped(volumes, dtype=torch.float32)])


class HeartCentred(MapTransform):
    """Note the centre of the heart in mm (3,) in the meta data of a volume, as "heart_centre".

    Args:
        keys: the volume (1, X, Y, Z), scaled to [0, 1], RAS.
        centre: see `cardiac_preprocessing`, as are the following.
        label_key: a loaded label.
        centre_key: an item's own centre.
        mask_key: an item's own mask.

    Raises:
        VolumeError: an empty label or mask, or a centre that is not three numbers.
    """

    def __init__(
        self, keys: KeysCollection, centre: str | Sequence[float], label_key: str | None, centre_key: str, mask_key: str
    ) -> None:
        super().__init__(keys)
        self.centre, self.label_key, self.centre_key, self.mask_key = centre, label_key, centre_key, mask_key
        self.load_mask = LoadVolumed(mask_key)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item whose image knows its heart."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key].clone()
            image.meta[CENTRE] = self._centre(item, image)
            item[key] = image
        return item

    def _centre(self, item: Mapping[str, Any], image: torch.Tensor) -> torch.Tensor:
        if item.get(self.centre_key) is not None:
            return _position(item[self.centre_key], image)
        if item.get(self.mask_key) is not None:
            return _middle(self.load_mask({self.mask_key: item[self.mask_key]})[self.mask_key])
        if not isinstance(self.centre, str):
            return _position(self.centre, image)
        if self.centre == "label":
            return _middle(item[self.label_key])
        voxel = find_heart(image[0].numpy(), float(image.pixdim[0]))
        if voxel is None:
            logger.warning("%s: no heart is found, its middle is taken; give the centre or a mask", file_name(image))
            voxel = (np.array(image.shape[1:]) - 1) / 2
        return _world(image, voxel)


def find_heart(volume: np.ndarray, pixdim: float) -> np.ndarray | None:
    """Find the heart coarsely: where bright compartments as thick as a chamber lie closest together.

    Blood is bright in contrast CT and in MR. Voxels brighter than 0.4 of the 98th percentile count, without what is
    thinner than 28 mm (vessels, ribs); the maximum of their density over about 5 cm is taken, weighted by nearness to
    the middle of the volume. Without contrast agent, or where the liver or the chest wall is as bright, it is not
    reliable; expect 1 to 2 cm.

    Args:
        volume: (X, Y, Z) in [0, 1], isotropic voxels.
        pixdim: their size in mm.

    Returns:
        Position (3,) in voxels, or None where nothing is bright and thick.
    """
    step = max(1, round(4 / pixdim))
    coarse = torch.nn.functional.avg_pool3d(torch.from_numpy(np.ascontiguousarray(volume))[None], step)[0].numpy()
    spacing = step * pixdim
    smooth = gaussian_filter(coarse, 2.8 / spacing)
    bright = np.pad(smooth > 0.4 * np.percentile(smooth, 98), 1, mode="edge")
    inner = slice(1, -1)
    cores = (distance_transform_edt(bright) * spacing > 14)[inner, inner, inner]
    if not cores.any():
        return None
    thick = distance_transform_edt(~cores) * spacing <= 14
    offsets = np.meshgrid(*(np.linspace(-0.5, 0.5, n) for n in thick.shape), indexing="ij", sparse=True)
    nearness = np.exp(-sum(offset**2 for offset in offsets) / (2 * 0.4**2))
    density = gaussian_filter(thick * nearness, 24 / spacing, mode="constant")
    return (np.array(np.unravel_index(density.argmax(), density.shape)) + 0.5) * step - 0.5


def _middle(mask: torch.Tensor) -> torch.Tensor:
    """Middle of the box (mm) around the non-zero voxels (1, X, Y, Z), 1 % at either end of each axis left out."""
    voxels = np.argwhere(mask[0].numpy() > 0)
    if not len(voxels):
        raise VolumeError(f"{file_name(mask)}: empty, so it tells no centre of the heart; correct it or leave it out")
    return _world(mask, np.quantile(voxels, (0.01, 0.99), axis=0).mean(axis=0))


def _world(image: torch.Tensor, voxel: Sequence[float]) -> torch.Tensor:
    affine = torch.as_tensor(image.affine, dtype=torch.float64)
    return affine[:3, :3] @ torch.as_tensor(np.asarray(voxel), dtype=torch.float64) + affine[:3, 3]


def _position(values: Any, image: torch.Tensor) -> torch.Tensor:
    found = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if found.shape != (3,) or not found.isfinite().all():
        raise VolumeError(f"{file_name(image)}: the centre of the heart must be (x, y, z) in mm, got {values}")
    return found
