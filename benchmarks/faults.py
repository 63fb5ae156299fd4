"""Faults planted in scans and translations, to measure which of them the warnings of a segmentation tell.

Each is strong enough to make the result useless. Those of scans take and give voxels (C, X, Y, Z) and an affine, those
of translations a tensor (C, X, Y, Z).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

SEED = 0


@dataclass(frozen=True)
class Scan:
    """A scan.

    Attributes:
        case: its name.
        voxels: (C, X, Y, Z).
        affine: (4, 4), in mm.
    """

    case: str
    voxels: np.ndarray
    affine: np.ndarray


Fault = Callable[[Scan], Scan]


def centimetres(scan: Scan) -> Scan:
    """The voxel size is a tenth of what it is."""
    affine = scan.affine.copy()
    affine[:3] /= 10
    return replace(scan, affine=affine)


def unsigned(scan: Scan) -> Scan:
    """Hounsfield units plus 1024, as stored before the rescale intercept is applied."""
    return replace(scan, voxels=scan.voxels + 1024)


def negative(scan: Scan) -> Scan:
    """Bright tissue is dark and dark tissue bright, as in a sequence of another weighting; the background stays."""
    voxels = scan.voxels.copy()
    for channel in voxels:
        inside = _body(channel)
        low, high = np.percentile(channel[inside], (1, 99))
        channel[inside] = np.clip(low + high - channel[inside], min(low, 0), None)
    return replace(scan, voxels=voxels)


def other_order(scan: Scan) -> Scan:
    """Each sequence is in the place of the one before."""
    return replace(scan, voxels=np.roll(scan.voxels, -1, axis=0))


def upside_down(scan: Scan) -> Scan:
    """Slices from the other end, while the affine says that they are not."""
    return replace(scan, voxels=scan.voxels[..., ::-1].copy())


def cropped(scan: Scan) -> Scan:
    """Only half of the field of view in the plane."""
    return replace(scan, voxels=scan.voxels[:, : scan.voxels.shape[1] // 2].copy())


def missing_slices(scan: Scan) -> Scan:
    """The middle third of the slices is lost, and the others have moved together."""
    count = scan.voxels.shape[-1]
    kept = [z for z in range(count) if not count // 3 <= z < 2 * count // 3]
    return replace(scan, voxels=scan.voxels[..., kept].copy())


def ghosting(scan: Scan) -> Scan:
    """Every other line of k-space is a third weaker: the body appears again, half a field of view away."""
    spectrum = np.fft.fft(scan.voxels, axis=2)
    spectrum[:, :, ::2] *= 0.66
    return replace(scan, voxels=_as_before(np.abs(np.fft.ifft(spectrum, axis=2)), scan))


def bias_field(scan: Scan) -> Scan:
    """One side is five times as bright as the other."""
    field = np.geomspace(0.4, 2, scan.voxels.shape[1])[:, None, None]
    low = min(float(scan.voxels.min()), 0.0)
    return replace(scan, voxels=_as_before((scan.voxels - low) * field + low, scan))


def noise(scan: Scan) -> Scan:
    """Noise of a third of the range of intensities."""
    rng = np.random.default_rng(SEED)
    spread = np.ptp(np.percentile(scan.voxels, (1, 99))) / 3
    return replace(scan, voxels=_as_before(scan.voxels + rng.normal(0, spread, scan.voxels.shape), scan))


class PlantBalld(MapTransform):
    """A fault of a translation: a ball where it has nothing to do, or a ball of anatomy that is gone.

    Args:
        keys: translation (C, X, Y, Z), normalised, with its voxel size.
        source_key: what was translated.
        radius: of the ball, in mm.
        erased: take anatomy away instead of adding it.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str = "image", radius: float = 20, erased: bool = False
    ) -> None:
        super().__init__(keys)
        self.source_key, self.radius, self.erased = source_key, radius, erased

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Plant it."""
        item = dict(data)
        for key in self.key_iterator(item):
            item[key] = self._plant(item[key], item[self.source_key])
        return item

    def _plant(self, translation: torch.Tensor, source: Any) -> torch.Tensor:
        image = source.numpy(force=True)
        inside = _body(image[0])
        depth = ndimage.distance_transform_edt(inside, source.pixdim.tolist())
        rng = np.random.default_rng(SEED)
        places = np.argwhere(depth > 0.5 * depth.max())
        place = places[rng.integers(len(places))]
        grid = np.stack(np.meshgrid(*map(np.arange, inside.shape), indexing="ij"), -1)
        far = np.linalg.norm((grid - place) * np.array(source.pixdim.tolist()), axis=-1)
        ball = torch.from_numpy((far < self.radius) & inside)
        low, high = (float(value) for value in np.percentile(image[:, inside], (1, 99)))
        planted = translation.clone()
        other = high if image[0][ball].mean() < (low + high) / 2 else low
        planted[:, ball] = float(image.min()) if self.erased else other
        return planted


def _body(channel: np.ndarray) -> np.ndarray:
    low, high = np.percentile(channel, (1, 99))
    return channel > low + 0.1 * (high - low)


def _as_before(voxels: np.ndarray, scan: Scan) -> np.ndarray:
    return voxels.astype(scan.voxels.dtype)
