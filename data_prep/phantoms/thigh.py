"""Thigh MR phantoms: T1w legs in four grades of fatty infiltration, with known muscle mask and fat fraction.

A leg is a compartment of eleven muscles around the femur, separated by thin fat-filled fascia, inside subcutaneous fat
and skin. In diseased muscles fat replaces muscle in streaks along the fibres and in patches, in some muscles early and
in others late, until only the sheath of a muscle is visible: its signal is then that of subcutaneous fat, and no
threshold separates them. Finally scanner effects are simulated: coil shading and Rician noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from transeg.errors import UserError

from data_prep.phantoms.common import complex_noise, grid, noise_field, save
from data_prep.phantoms.thigh_anatomy import Leg, draw_legs
from data_prep.phantoms.thigh_tissue import GRADES, NOISES, draw_leg, draw_severity

FIELD_OF_VIEW = {1: (192.0, 192.0), 2: (384.0, 192.0)}


@dataclass(frozen=True)
class ThighPhantom:
    """One synthetic patient.

    Attributes:
        image: (X, Y, Z) int16, T1w.
        mask: (X, Y, Z) uint8, 1 in all muscle, infiltrated or not; fascia, vessels and bone are 0.
        fat: (X, Y, Z) float32, fat fraction inside the mask, 0 outside it.
        affine: (4, 4) voxel to mm, LPS order of the axes.
        grade: healthy, minor, moderate or severe.
    """

    image: np.ndarray
    mask: np.ndarray
    fat: np.ndarray
    affine: np.ndarray
    grade: str


def thigh_phantom(
    seed: int | Sequence[int],
    shape: Sequence[int] = (192, 96, 8),
    spacing: float | Sequence[float] = (2.0, 2.0, 7.0),
    grade: str = "healthy",
    legs: int = 2,
    difficulty: float = 0.5,
) -> ThighPhantom:
    """Draw one patient.

    Args:
        seed: a seed, or (seed, case number); with the other options it determines every voxel.
        shape: voxels along x, y, z.
        spacing: voxel size in mm (paper: 1, 1, 7). In a field of view smaller than 192 mm by leg the legs shrink to
            fit.
        grade: healthy, minor, moderate or severe.
        legs: both in one field of view, or one of them.
        difficulty: 0 (clean images) to 1 (strong noise and shading).

    Raises:
        ValueError: an option out of range.
    """
    if grade not in GRADES:
        raise UserError(f"grade must be one of {', '.join(GRADES)}, got {grade}")
    if legs not in FIELD_OF_VIEW or not 0 <= difficulty <= 1:
        raise UserError(f"legs must be 1 or 2 and difficulty lie in [0, 1], got {legs} and {difficulty}")
    rng = np.random.default_rng(seed)
    points, affine = grid(shape, spacing)
    steps = np.abs(np.diag(affine)[:3])
    fit = min(1.0, *(n * s / f for n, s, f in zip(shape, steps, FIELD_OF_VIEW[legs], strict=False)))
    points = points / np.float32(fit)
    signal, mask, fat = np.zeros((3, *shape), np.float32)
    severity = draw_severity(rng, grade)
    for leg in draw_legs(rng, legs):
        fields = {name: noise_field(rng, scale) for name, scale in NOISES.items()}
        near = _near(points, leg)
        drawn = draw_leg(leg.frame(points[:, near]), leg, severity, fields, rng, grade, float(steps[:2].mean() / fit))
        larger = drawn[0] > signal[near]  # where two legs touch
        for volume, values in zip((signal, mask, fat), drawn, strict=True):
            volume[near] = np.where(larger, values, volume[near])
    return ThighPhantom(_scan(signal, points, rng, difficulty), mask.astype(np.uint8), fat, affine, grade)


def _near(points: np.ndarray, leg: Leg) -> np.ndarray:
    """Voxels (X, Y, Z) on the side of the leg; of a single one, all."""
    return points[0] * leg.side >= 0 if leg.lean else np.ones(points.shape[1:], bool)


def _scan(signal: np.ndarray, points: np.ndarray, rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Simulate the scanner: coil shading, blur, Rician noise, gain; int16."""
    strength = (0.02 + 0.10 * difficulty) * rng.uniform(0.5, 1.3)
    sigma = (0.012 + 0.020 * difficulty) * rng.uniform(0.8, 1.25)
    gain = np.exp(rng.uniform(np.log(250), np.log(900)))
    shading = np.exp(strength * noise_field(rng, 150)(points))
    real, imaginary = complex_noise(rng, signal.shape)
    blurred = gaussian_filter(signal * shading, (0.35, 0.35, 0))
    return np.rint(gain * np.hypot(blurred + sigma * real, sigma * imaginary)).clip(0, 32000).astype(np.int16)


def write_thigh(phantom: ThighPhantom, folder: Path, case: int) -> None:
    """Write FOLDER/<grade>/Phantom_<case>.nii.gz with _mask and, for checks of the fat fraction, _fatfraction."""
    target = folder / phantom.grade
    target.mkdir(exist_ok=True)
    name = f"Phantom_{case:03d}"
    save(phantom.image, phantom.affine, target / f"{name}.nii.gz")
    save(phantom.mask, phantom.affine, target / f"{name}_mask.nii.gz")
    save(phantom.fat, phantom.affine, target / f"{name}_fatfraction.nii.gz")
