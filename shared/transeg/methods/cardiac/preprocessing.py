"""Preprocessing of cardiac CT and MR volumes, shared by data preparation and inference.

Source: Zhang, Yang, Zheng 2018, "Translating and segmenting multimodal medical volumes with cycle- and
shape-consistency generative adversarial network", section 5.1: volumes of 1.5 mm and 86 x 112 x 112 voxels around the
centre of the heart; the four chambers and the myocardium of the left ventricle. The paper does not specify which axis
is the short one; here it is the longitudinal axis Z, so a volume is (X, Y, Z) = (112, 112, 86). Nor does it specify the
intensity scaling; here it is the usual one for MM-WHS: HU -100 to 800, MR percentiles 0.5 to 99.5.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureTyped, MapLabelValued, MapTransform, Orientationd
from monai.utils import ensure_tuple
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt, gaussian_filter

from transeg.errors import VolumeError
from transeg.methods.cardiac.modality import ScaleModalityd
from transeg.transforms.centre import CropAtCentred, file_name
from transeg.transforms.intensity import SignedRanged
from transeg.transforms.load import LoadVolumed
from transeg.transforms.spacing import ResampleVolumed

logger = logging.getLogger(__name__)

HEART_CLASSES = ("background", "Myo", "LA", "LV", "RA", "RV")
# MM-WHS value -> class. Aorta (820) and pulmonary artery (850) are not among the paper's regions; one MR label contains
# a few voxels of 421. Labels that already contain classes are kept.
HEART_LABELS = {0: 0, 205: 1, 420: 2, 421: 2, 500: 3, 550: 4, 600: 5, 820: 0, 850: 0} | {c: c for c in range(1, 6)}
CENTRE = "heart_centre"  # key in the meta data of the image


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
    """Make the transform from NIfTI files to scaled volumes around the heart (inverted by MONAI's `Invertd`).

    The volume is scaled to [-1, 1] (CT: from HU -100 to 800; MR: from its 0.5 and 99.5 percentiles), reoriented to RAS,
    resampled to isotropic voxels and cropped or padded (with -1) to `size` around the centre of the heart: the
    item's `centre_key`, (x, y, z) in mm, otherwise the centre of its mask file under `mask_key`, otherwise `centre`.

    Args:
        keys: single-channel image volumes, see `LoadVolumed` for the accepted values; all are cropped like the first.
        label_keys: label volumes with the values of MM-WHS or classes 0 to 5; mapped to the classes of `HEART_CLASSES`
            and resampled with nearest-neighbour interpolation.
        modality: "ct", "mr" or "auto" (detected per item), see `ScaleModalityd`.
        pixdim: voxel size in mm (paper: 1.5).
        size: (X, Y, Z) in voxels (paper: 112, 112, 86); None keeps the full volume and needs no centre.
        centre: "label", the centre of the first label; "found", see `find_heart`; or (x, y, z) in mm, in the
            coordinates of the file (RAS, as in nibabel and ITK-SNAP).
        centre_key: key of an item's own centre, optional.
        mask_key: key of an item's own mask file, optional; non-zero in the heart, on any grid.

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (1, X, Y, Z). The image's meta data contain its
        "modality" and the intensity scale, see `RestoreIntensityd`.

    Raises:
        ValueError: an unknown modality or centre.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    if isinstance(centre, str) and not (centre == "found" or (centre == "label" and labels)):
        raise ValueError(f'centre must be "found", "label" (with a label key) or (x, y, z) in mm, got {centre!r}')
    volumes = images + labels
    modes = ("bilinear",) * len(images) + ("nearest",) * len(labels)
    steps: list[MapTransform] = [LoadVolumed(images)]
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
    """Record the centre of the heart in mm (3,) in the meta data of a volume, as "heart_centre".

    Args:
        keys: the volume (1, X, Y, Z), scaled to [0, 1], in RAS.
        centre: see `cardiac_preprocessing`.
        label_key: key of a loaded label, if any.
        centre_key: see `cardiac_preprocessing`.
        mask_key: see `cardiac_preprocessing`.

    Raises:
        VolumeError: an empty label or mask, or a centre that is not three numbers.
    """

    def __init__(
        self, keys: KeysCollection, centre: str | Sequence[float], label_key: str | None, centre_key: str, mask_key: str
    ) -> None:
        super().__init__(keys)
        self.centre, self.label_key, self.centre_key, self.mask_key = centre, label_key, centre_key, mask_key
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
        if item.get(self.mask_key) is not None:
            mask = self.load_mask({self.mask_key: item[self.mask_key]})[self.mask_key]
            return _middle(mask)
        if not isinstance(self.centre, str):
            return _position(self.centre, image)
        if self.label_key is not None and self.centre == "label":
            return _middle(item[self.label_key])
        voxel = find_heart(image[0].numpy(), float(image.pixdim[0]))
        if voxel is None:
            logger.warning("%s: heart not found, using the volume centre; provide a centre or a mask", file_name(image))
            voxel = (np.array(image.shape[1:]) - 1) / 2
        return _world(image, voxel)


def find_heart(volume: np.ndarray, pixdim: float) -> np.ndarray | None:
    """Locate the heart coarsely: where bright compartments as thick as a chamber are densest.

    Blood is bright in contrast-enhanced CT and in MR. Voxels above 0.4 of the 98th percentile count, except structures
    thinner than 28 mm (vessels, ribs); the result is the maximum of their density over about 5 cm, weighted by
    proximity to the volume centre. Expect an error of 1 to 2 cm; unreliable without contrast agent, or if the liver or
    the chest wall is as bright.

    Args:
        volume: (X, Y, Z) in [0, 1], isotropic voxels.
        pixdim: voxel size in mm.

    Returns:
        Position (3,) in voxels, or None if nothing is bright and thick.
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


def _middle(mask: MetaTensor) -> torch.Tensor:
    """Centre in mm of the bounding box of the non-zero voxels (1, X, Y, Z), without 1 % at either end of each axis."""
    voxels = np.argwhere(mask[0].numpy() > 0)
    if not len(voxels):
        raise VolumeError(f"{file_name(mask)}: empty, cannot locate the centre of the heart; correct or remove it")
    return _world(mask, np.quantile(voxels, (0.01, 0.99), axis=0).mean(axis=0))


def _world(image: MetaTensor, voxel: ArrayLike) -> torch.Tensor:
    affine = torch.as_tensor(image.affine, dtype=torch.float64)
    return affine[:3, :3] @ torch.as_tensor(np.asarray(voxel), dtype=torch.float64) + affine[:3, 3]


def _position(values: Any, image: torch.Tensor) -> torch.Tensor:
    found = torch.as_tensor(np.asarray(values, dtype=np.float64))
    if found.shape != (3,) or not found.isfinite().all():
        raise VolumeError(f"{file_name(image)}: the centre of the heart must be (x, y, z) in mm, got {values}")
    return found
