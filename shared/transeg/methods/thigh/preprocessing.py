"""The body in preprocessed thigh MR.

Source: Gadermayr et al. 2021, "Image-to-image translation for simplified MRI muscle segmentation": axial slices of
1 x 1 x 7 mm, too thick to interpolate between, so they are resampled in the plane only. The paper does not specify the
intensity scaling; as its loss compares the two domains voxel by voxel, every scan is scaled by the same rule, whatever
its grade: percentiles of the whole scan to [-1, 1]. See the bundle's recipe and `transeg.transforms.preprocessing`.
"""

from __future__ import annotations

import torch

from transeg.metrics.silhouette import silhouette


def body_mask(image: torch.Tensor) -> torch.Tensor:
    """Body mask of the first channel: (C, X, Y, Z) -> bool (1, X, Y, Z)."""
    return torch.from_numpy(silhouette(torch.as_tensor(image)[0].cpu().numpy()))[None]
