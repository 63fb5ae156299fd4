"""Preprocessing of thigh MR volumes, the same for the preparation of training data and for inference.

Source: Gadermayr et al. 2021, "Image-to-image translation for simplified MRI muscle segmentation": axial slices of
1 x 1 x 7 mm. The paper leaves the scaling of intensities open; its loss compares the two domains voxel by voxel, so
every scan is scaled by one rule, whatever its grade.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from monai.config import KeysCollection
from monai.transforms import AsDiscreted, Compose, EnsureTyped, Orientationd
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
    """Make the transform from NIfTI files to scaled, centred volumes (undone by monai's `Invertd`).

    The volume is turned to RAS, resampled in the plane of the slices only (7 mm slices hold nothing to interpolate
    between), and cropped or padded in X and Y so that the middle of the body's bounding box is the middle of the
    image; one leg or both. Intensities: the range from the minimum to the `upper` percentile of the volume becomes
    [-1, 1]; beyond it they are cut off.

    Args:
        keys: image volumes of one channel, see `LoadVolumed` for the accepted values; all are centred on the first.
        label_keys: muscle masks, merged to 0 and 1 (label > 0) and resampled to the nearest neighbour.
        pixdim: voxel size in X and Y in mm (paper: 1.0); the distance of slices stays as it is.
        size: (X, Y) of a slice in voxels (paper: (256, 256)).
        upper: percentile that becomes 1.

    Returns:
        Compose: item with file names -> item with float32 MetaTensors (1, X, Y, Z). The intensity scale is kept in
        the image's meta data, see `RestoreIntensityd`.
    """
    images, labels = ensure_tuple(keys), ensure_tuple(label_keys)
    volumes = images + labels
    modes = ("bilinear",) * len(images) + ("nearest",) * len(labels)
    steps = [LoadVolumed(images)]
    if labels:
        steps += [LoadVolumed(labels, like=images[0]), AsDiscreted(labels, threshold=0.5)]
    return Compose(
        [
            *steps,
            ScaleRanged(images, upper=upper),
            Orientationd(volumes, axcodes="RAS", labels=None),
            ResampleVolumed(volumes, pixdim=(pixdim, pixdim, -1.0), mode=modes),  # -1: as it is
            CentreForegroundd(volumes, source_key=images[0], size=size, select_fn=body_mask, name="body"),
            SignedRanged(images),
            EnsureTyped(volumes, dtype=torch.float32),
        ]
    )


def body_mask(image: torch.Tensor) -> torch.Tensor:
    """Body of the first channel, air left out: (C, X, Y, Z) -> bool (1, X, Y, Z)."""
    return torch.from_numpy(silhouette(torch.as_tensor(image)[0].cpu().numpy()))[None]
