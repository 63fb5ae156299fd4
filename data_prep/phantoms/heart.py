"""Heart phantoms: contrast CT and MR of the chest around different hearts, laid out as the public MM-WHS data.

A heart has four chambers, the left ventricular myocardium, aorta, pulmonary artery, veins and fat; it lies between the
lungs, in front of the spine and on the diaphragm. Size, pose, proportions and shape are drawn for each case, so no CT
shows the heart of an MR. Papillary muscles and trabeculae are dark but labelled as blood, contrast agent is mixed
incompletely in the right heart, and the right ventricular myocardium is not labelled, so that thresholding does not
solve the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from transeg.errors import UserError

from data_prep.phantoms.common import complex_noise, noise_field, rotate, save, triple
from data_prep.phantoms.heart_anatomy import Heart, draw_chest, draw_heart
from data_prep.phantoms.heart_tissue import NOISES, draw_signal, draw_tissue

MODALITIES = ("ct", "mr")
FIRST_CASE = 1001  # as in MM-WHS
# Directions of the three axes of a file: CT as LPS; MR also in the order of coronal and sagittal slices.
AXES = {
    "ct": ("LPS",),
    "mr": ("LPS", "LSP", "PSR"),
}
_LETTERS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


@dataclass(frozen=True)
class HeartPhantom:
    """One synthetic patient.

    Attributes:
        image: int16, in HU (CT) or in units of the scanner (MR).
        label: int16, values of `heart_tissue.LABELS`.
        affine: (4, 4) voxel to mm.
        modality: "ct" or "mr".
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    modality: str


def heart_phantom(
    seed: int | Sequence[int],
    modality: str = "ct",
    shape: Sequence[int] = (96, 96, 80),
    spacing: float | Sequence[float] = 2.0,
    difficulty: float = 0.5,
) -> HeartPhantom:
    """Draw one patient.

    Args:
        seed: a seed, or (seed, case number); with the other options it determines every voxel. The two modalities of
            one seed show different hearts.
        modality: "ct" or "mr".
        shape: voxels along the patient's x, y, z; an MR file may hold its axes in another order.
        spacing: voxel size in mm, one or three numbers; a case differs from it by up to a fifth.
        difficulty: 0 (clear borders, clean images) to 1 (faint right heart, strong noise, shading).

    Raises:
        ValueError: an option out of range.
    """
    if modality not in MODALITIES or not 0 <= difficulty <= 1:
        raise UserError(f"modality must be ct or mr and difficulty lie in [0, 1], got {modality} and {difficulty}")
    rng = np.random.default_rng((*np.atleast_1d(seed).tolist(), MODALITIES.index(modality)))
    heart = draw_heart(rng)
    chest = draw_chest(rng, heart)
    points, affine, steps = _scan_grid(rng, modality, heart, shape, spacing)
    fields = {name: noise_field(rng, scale) for name, scale in NOISES.items()}
    signal = draw_signal(rng, modality, difficulty)
    size = points.shape[1:]
    clean, label = draw_tissue(points.reshape(3, -1), heart, chest, signal, fields, float(steps.mean()))
    scan = _ct if modality == "ct" else _mr
    image = scan(clean.reshape(size), points, heart, rng, difficulty)
    return HeartPhantom(image, label.reshape(size), affine, modality)


def _scan_grid(
    rng: np.random.Generator, modality: str, heart: Heart, shape: Sequence[int], spacing: float | Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions of the voxels in the chest (3, I, J, K), the affine of the file and the voxel size in mm.

    The heart is near the middle of the field of view; MR slices are tilted.
    """
    if len(shape) != 3 or min(shape) < 8:
        raise UserError(f"shape must be three sizes of at least 8 voxels, got {tuple(shape)}")
    mr = modality == "mr"
    steps = np.array(triple(spacing)) * rng.uniform(0.95, 1.1)
    steps *= rng.uniform(0.9, 1.1, 3) if mr else np.array([1, 1, rng.uniform(0.9, 1.15)])
    turn = rotate(np.eye(3), rng.normal(0, 6, 3)) if mr else np.eye(3)
    letters = AXES[modality][rng.integers(len(AXES[modality]))]
    order, signs = zip(*(_LETTERS[letter] for letter in letters), strict=True)
    affine = np.eye(4)
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, column] = sign * steps[axis] * turn[:, axis]
    size = [shape[axis] for axis in order]
    middle = heart.valves + np.array([-2, 4, 0]) + rng.normal(0, 6, 3)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(size) - 1) / 2)
    indices = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in size), indexing="ij"))
    points = np.tensordot(affine[:3, :3], indices, axes=1) + affine[:3, 3, None, None, None]
    table = affine.copy()
    table[:3, 3] += rng.uniform(-80, 80, 3)  # the scanner's origin is anywhere
    return points.astype(np.float32), table, steps


def _ct(clean: np.ndarray, points: np.ndarray, heart: Heart, rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Blur, quantum noise and the streaks of undiluted contrast in the upper vena cava; HU."""
    dose = (9 + 32 * difficulty) * rng.uniform(0.8, 1.25)
    quantum = gaussian_filter(rng.standard_normal(clean.shape, dtype=np.float32), (0.6, 0.6, 0))
    source = heart.valves + np.array([31, 4, 0])
    x, y = points[0] - source[0], points[1] - source[1]
    rays = noise_field(rng, 0.12)
    around = np.arctan2(y, x)
    fans = rays(np.stack([np.cos(around), np.sin(around), points[2] / 40]))
    height = np.clip((points[2] - heart.valves[2] - 5) / 30, 0, 1)
    streaks = (15 + 45 * difficulty) * fans * height / (1 + np.hypot(x, y) / 20)
    image = gaussian_filter(clean, 0.45) + dose / 0.47 * quantum + streaks
    return np.clip(np.rint(image), -1024, 3000).astype(np.int16)


def _mr(clean: np.ndarray, points: np.ndarray, heart: Heart, rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Coil shading, blur, Rician noise and gain; arbitrary units."""
    strength = (0.08 + 0.25 * difficulty) * rng.uniform(0.6, 1.3)
    sigma = (0.015 + 0.05 * difficulty) * rng.uniform(0.8, 1.25)
    gain = np.exp(rng.uniform(np.log(250), np.log(1200)))
    # the coil lies on the chest
    front = 0.8 * strength * (points[1] - heart.valves[1]) / 80
    shading = np.exp(strength * noise_field(rng, 110)(points) + front)
    real, imaginary = complex_noise(rng, clean.shape)
    blurred = gaussian_filter(clean * shading, 0.5)
    return np.rint(gain * np.hypot(blurred + sigma * real, sigma * imaginary)).clip(0, 32000).astype(np.int16)


def write_heart(phantom: HeartPhantom, folder: Path, case: int) -> None:
    """Write FOLDER/ct_train/ct_train_<1001 + case>_{image,label}.nii.gz, MR in mr_train."""
    target = folder / f"{phantom.modality}_train"
    target.mkdir(exist_ok=True)
    stem = f"{phantom.modality}_train_{FIRST_CASE + case}"
    save(phantom.image, phantom.affine, target / f"{stem}_image.nii.gz")
    save(phantom.label, phantom.affine, target / f"{stem}_label.nii.gz")
