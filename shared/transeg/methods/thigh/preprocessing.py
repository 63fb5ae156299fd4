"""Preprocessing of thigh MR volumes, shared by data preparation and inference.

Source: Gadermayr et al. 2021, "Image-to-image translation for simplified MRI muscle segmentation": axial slices of
1 x 1 x 7 mm. The paper does not specify the intensity scaling; as its loss compares the two domains voxel by voxel,
every scan is scaled by the same rule, whatever its grade.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import AsDiscreted, Compose, EnsureTyped, MapTransform, Orientationd
from monai.utils import ensure_tuple

from transeg.metrics.silhouette import silhouette
from transeg.transforms.centre import CentreForegroundd
from transeg.transforms.intensity import ScaleRanged, SignedRanged
from transeg.transforms.load import LoadVolumed
from transeg.transforms.spacing import ResampleVolumed


def thigh_preprocessing(
    keys: KeysCollection = ("image",),
    label_keys: KeysCollection = (),
    pixdim: float = 2.0,
    size: Sequence[int] = (192, 96),
    upper: float = 99.5,
) -> Compose:
    """Make the transform from NIfTI files to scaled, centred volumes (inverted by MONAI's `Invertd`).

    The volume is reoriented to RAS, resampled in-plane only (slices of 7 mm are too thick to interpolate between), and
    cropped or padded in X and Y around the centre of the body's bounding box, with one leg or both. Intensities between
    the minimum and the `upper` percentile of the volume are mapped to [-1, 1] and clipped.

    Args:
        keys: single-channel image volumes, see `LoadVolumed` for the accepted values; all are centred on the first.
        label_keys: muscle masks, merged to 0 and 1 (label > 0), resampled with nearest-neighbour interpolation.
        pixdim: voxel size in X and Y in mm (paper: 1.0); the slice spacing is kept.
        size: (X, Y) of a slice in voxels (paper: (256, 256)).
        upper: percentile mapped to 1.

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (1, X, Y, Z). The image's meta data contain the
        intensity scale, see `RestoreIntensityd`.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    volumes = images + labels
    modes = ("bilinear",) * len(images) + ("nearest",) * len(labels)
    steps: list[MapTransform] = [LoadVolumed(images)]
    if labels:
        steps += [LoadVolumed(labels, like=images[0]), AsDiscreted(labels, threshold=0.5)]
    return Compose(
        [
            *steps,
            ScaleRanged(images, upper=upper),
            Orientationd(volumes, axcodes="RAS", labels=None),
            ResampleVolumed(volumes, pixdim=(pixdim, pixdim, -1.0), mode=modes),  # -1: unchanged
            CentreForegroundd(volumes, source_key=images[0], size=size, select_fn=body_mask, name="body"),
            SignedRanged(images),
            EnsureTyped(volumes, dtype=torch.float32),
        ]
    )


def body_mask(image: torch.Tensor) -> torch.Tensor:
    """Body mask of the first channel: (C, X, Y, Z) -> bool (1, X, Y, Z)."""
    return torch.from_numpy(silhouette(torch.as_tensor(image)[0].cpu().numpy()))[None]
