"""Knee MR phantoms: sagittal slices of one fluid-sensitive contrast, with bone marrow lesions in some patients.

An example of scans that no preset knows: one channel, thick sagittal slices, a label value of its own. Femur and tibia
are dark (fat-suppressed marrow) inside a brighter rim of cartilage, surrounded by muscle, subcutaneous tissue and skin;
effusion and vessels are as bright as a lesion, so that no threshold finds it.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from transeg.errors import UserError

from data_prep.phantoms.common import complex_noise, ellipsoid, mix, noise_field, save, soft, triple

LESION = 7  # its value in label files
MUSCLE, MARROW, CARTILAGE, FAT, FLUID = 0.42, 0.22, 0.62, 0.30, 1.0


@dataclass(frozen=True)
class KneePhantom:
    """One synthetic patient.

    Attributes:
        image: (A, S, R) int16, as sagittal series lie in their files.
        label: (A, S, R) uint8, `LESION` in lesions.
        affine: (4, 4) voxel to mm.
        slices: first and last slice with a lesion, None without.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    slices: tuple[int, int] | None


def knee_phantom(
    seed: int | Sequence[int],
    shape: Sequence[int] = (224, 224, 20),
    spacing: float | Sequence[float] = (0.5, 0.5, 3.0),
    difficulty: float = 0.5,
    lesion: bool = True,
) -> KneePhantom:
    """Draw one patient.

    Args:
        seed: a seed, or (seed, case number); with the other options it determines every voxel.
        shape: voxels in the plane (two) and slices.
        spacing: voxel size in mm likewise.
        difficulty: 0 (bright lesions, clean images) to 1.
        lesion: whether there is one.

    Raises:
        UserError: an option out of range.
    """
    steps = triple(spacing)
    if len(shape) != 3 or min(shape) < 8 or not 0 <= difficulty <= 1:
        raise UserError(
            f"shape must be three sizes of at least 8 and difficulty lie in [0, 1], got {shape}, {difficulty}"
        )
    rng = np.random.default_rng(seed)
    axes = [(s * (np.arange(n) - (n - 1) / 2)).astype(np.float32) for n, s in zip(shape, steps, strict=True)]
    anterior, superior, right = np.meshgrid(-axes[0], -axes[1], axes[2], indexing="ij")
    points = np.stack([right, anterior, superior])
    # larger in the plane than across it, and never the same knee twice
    scale = np.float32(rng.uniform(0.9, 1.08) * min(1.0, shape[0] * steps[0] / 112, shape[1] * steps[1] / 112))
    body = points / scale + rng.normal(0, 1.5, (3, 1, 1, 1)).astype(np.float32)
    image, label = _draw(body, rng, difficulty, lesion)
    strength, sigma = (0.05 + 0.1 * difficulty) * rng.uniform(0.6, 1.2), 0.015 + 0.02 * difficulty
    image = gaussian_filter(image * np.exp(strength * noise_field(rng, 60)(points)), (0.8, 0.8, 0))
    real, imaginary = complex_noise(rng, shape)
    gain = np.exp(rng.uniform(np.log(200), np.log(700)))
    scan = np.rint(gain * np.hypot(image + sigma * real, sigma * imaginary)).clip(0, 32000).astype(np.int16)
    affine = np.zeros((4, 4))
    affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -steps[0], -steps[1], steps[2], 1
    affine[:3, 3] = [axes[2][0], -axes[0][0], -axes[1][0]]
    shown = np.flatnonzero(label.any(axis=(0, 1)))
    return KneePhantom(scan, label, affine, (int(shown[0]), int(shown[-1])) if len(shown) else None)


def _draw(
    points: np.ndarray, rng: np.random.Generator, difficulty: float, lesion: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Signal and label (A, S, R) at points (3, A, S, R) in mm (right, anterior, superior)."""
    texture = noise_field(rng, 6)(points)
    image = np.zeros(points.shape[1:], np.float32)
    leg = ellipsoid(points, (0, -6, 0), (46, 44, 400))
    mix(image, soft(leg, 1), FAT * (1 + 0.15 * texture))
    mix(image, soft(leg - 7, 3), MUSCLE * (1 + 0.12 * texture))
    bones = [
        np.maximum(
            ellipsoid(points, (0, 2 * rng.normal(), side * 62), (19, 18, 50)),
            ellipsoid(points, (0, 1, side * 17), (32, 25, 15), 3),
        )
        for side in (1, -1)
    ]
    marrow = np.maximum(*bones)
    mix(image, soft(marrow + 3, 1.5), CARTILAGE)
    mix(image, soft(marrow, 1.5), MARROW * (1 + 0.25 * texture))
    patella = ellipsoid(points, (0, 34, 14), (18, 7, 16))
    mix(image, soft(patella, 1.5), MARROW * (1 + 0.2 * texture))
    effusion = ellipsoid(points, (0, 27, 30 + 3 * rng.normal()), (20, rng.uniform(1, 5), rng.uniform(8, 18)))
    mix(image, soft(np.minimum(effusion, -marrow), 1.5) * rng.uniform(0.5, 1), FLUID)
    for x in (-6.0, 5.0):  # popliteal vessels
        vessel = ellipsoid(points, (x + rng.normal(), -33 + 2 * rng.normal(), 0), (3.2, 3.2, 400))
        mix(image, soft(vessel, 1.5), FLUID * rng.uniform(0.7, 1))
    if not lesion:
        return image, np.zeros(image.shape, np.uint8)
    side = rng.choice((1, -1))
    centre = (rng.uniform(-20, 20), rng.uniform(-12, 14), side * rng.uniform(13, 24))
    radii = rng.uniform(7, 13, 3)
    blob = np.minimum(ellipsoid(points, centre, radii) + 2.0 * noise_field(rng, 9)(points), marrow)
    weight = soft(blob, 4) * (0.95 - 0.3 * difficulty)
    mix(image, weight, 0.85 * (1 + 0.1 * texture))
    return image, np.where(blob > 0, LESION, 0).astype(np.uint8)


def write_knee(phantom: KneePhantom, folder: Path, case: int, labelled: bool) -> dict[str, str]:
    """Write FOLDER/knee_<case>.nii.gz and, if `labelled`, its mask; returns its row of the reading."""
    name = f"knee_{case:03d}"
    save(phantom.image, phantom.affine, folder / f"{name}.nii.gz")
    if labelled:
        save(phantom.label, phantom.affine, folder / f"{name}_mask.nii.gz")
    slices = "no" if phantom.slices is None else "{}-{}".format(*phantom.slices)
    return {"case": name, "presence": slices}


def write_reading(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write FOLDER/reading.csv, which patients and which slices show a lesion, as a reader would note it."""
    with (folder / "reading.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("case", "presence"))
        writer.writeheader()
        writer.writerows(rows)
