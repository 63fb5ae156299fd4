"""Fatty infiltration simulated in real muscle: real anatomy and contrast, and a known truth.

Scans are T1w with the fat near 1,000 and air near 0, as those of the soft-tissue sarcoma set. What a scan shows as
muscle is taken from its intensities; fat then replaces a part of it in patches and streaks along the fibres, first
along the fascia, with partial volume and the noise of the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from transeg.metrics.silhouette import silhouette

from data_prep.phantoms.common import noise_field

MUSCLE = (150.0, 560.0)  # intensities, with fat at 1,000; below lies cortical bone, above fat and marrow
FAT = 1000.0
SHARES = {"minor": (0.05, 0.15), "moderate": (0.25, 0.4), "severe": (0.45, 0.7)}  # of the muscle that becomes fat
SKIN = 4.0  # mm
RIM = 3.0  # mm: the widest rim of partial volume between fat and bone or fat and air
SMALLEST = 100.0  # mm^2


class Infiltrated(NamedTuple):
    """A scan in which fat has replaced muscle, and the part of each voxel that it replaced."""

    image: np.ndarray  # (X, Y, Z)
    fat: np.ndarray  # (X, Y, Z), 0 to 1


def find_muscle(image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Muscle of a scan without infiltration, slice by slice: bool (X, Y, Z).

    Args:
        image: (X, Y, Z), fat near 1,000.
        spacing: voxel size in mm.
    """
    smooth = ndimage.gaussian_filter(image.astype(np.float32), (0.7, 0.7, 0))
    body, (low, high) = silhouette(image), MUSCLE
    muscle = np.zeros(image.shape, bool)
    radius = max(1, round(RIM / 2 / float(np.mean(spacing[:2]))))
    disc = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1]) <= radius
    for z in range(image.shape[2]):
        depth = ndimage.distance_transform_edt(np.pad(body[..., z], 1, mode="edge"), sampling=spacing[:2])[1:-1, 1:-1]
        found = (low < smooth[..., z]) & (smooth[..., z] < high) & (depth > SKIN)
        parts, _ = ndimage.label(ndimage.binary_opening(found, disc))
        large = np.bincount(parts.ravel()) * spacing[0] * spacing[1] >= SMALLEST
        large[0] = False
        muscle[..., z] = large[parts]
    return muscle


def infiltrate(
    image: np.ndarray, muscle: np.ndarray, spacing: Sequence[float], grade: str, rng: np.random.Generator
) -> Infiltrated:
    """Replace a part of the muscle by fat.

    Args:
        image: (X, Y, Z), fat near 1,000.
        muscle: bool (X, Y, Z), see `find_muscle`.
        spacing: voxel size in mm.
        grade: "minor", "moderate" or "severe", see `SHARES`.
        rng: decides where, and how much within the grade.
    """
    points = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(image.shape, spacing, strict=True)), indexing="ij")
    )
    points = points.astype(np.float32)
    along = points * np.array([1, 1, 0.25], np.float32)[:, None, None, None]  # fibres run along the limb
    depth = np.stack(
        [ndimage.distance_transform_edt(muscle[..., z], sampling=spacing[:2]) for z in range(image.shape[2])], axis=2
    )
    disease = 1.0 * noise_field(rng, 25)(points) + 0.7 * noise_field(rng, 6)(along) + 0.5 * noise_field(rng, 2.5)(along)
    disease += 1.2 * np.exp(-depth / 4)  # first along the fascia
    share = rng.uniform(*SHARES[grade])
    level = float(np.quantile(disease[muscle], 1 - share))
    fat = np.where(muscle, 1 / (1 + np.exp(-(disease - level) / 0.25)), 0)
    fat = np.where(muscle, ndimage.gaussian_filter(fat, (0.5, 0.5, 0)), 0).astype(np.float32)

    noise = _noise_of(image, muscle)
    bright = FAT * (1 + 0.04 * noise_field(rng, 8)(points)) * rng.uniform(0.92, 1.0)
    mixed = (1 - fat) * image + fat * bright
    mixed += np.sqrt(1 - (1 - fat) ** 2) * noise * rng.standard_normal(image.shape)  # as noisy as the scan
    return Infiltrated(np.where(muscle, np.maximum(mixed, 0), image).astype(np.float32), fat)


def _noise_of(image: np.ndarray, muscle: np.ndarray) -> float:
    """Standard deviation of the noise, from differences of neighbours in muscle."""
    pairs = muscle[1:] & muscle[:-1]
    steps = np.abs(np.diff(image.astype(np.float32), axis=0)[pairs])
    return float(np.median(steps) / 0.6745 / np.sqrt(2)) if steps.size else 0.0
