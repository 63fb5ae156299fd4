"""Brain MR phantoms: four co-registered sequences with a tumour, skull-stripped, laid out as BraTS 2017.

A head is an ovoid of random size. Its cortex is folded by noise that varies along the surface but hardly with depth, so
that the zero sets are sulci. Tissue fractions (white and grey matter, fluid, deep grey matter, tumour parts) are mixed
with one intensity per sequence; then scanner effects are simulated: gain, gamma, bias field and noise.

Healthy tissue that resembles tumour in FLAIR (white-matter hyperintensities, periventricular caps, bright cortex) is
included on purpose and labelled 0, so that thresholding does not solve the task. A tumour lies mostly in one
hemisphere, at any height and on either side, so that the other half-slices of the same patients are healthy, and
neither position nor head size separates the two domains. Grade "healthy" is the same patient without the tumour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from transeg.errors import UserError

from data_prep.phantoms.brain_anatomy import draw_head, draw_tumour
from data_prep.phantoms.brain_tissue import NOISES, draw_tissue
from data_prep.phantoms.common import complex_noise, ellipsoid, grid, noise_field, rotate, save

SEQUENCES = ("flair", "t1ce", "t1", "t2")
FIELD_OF_VIEW = (240.0, 240.0, 155.0)


@dataclass(frozen=True)
class BrainPhantom:
    """One synthetic patient.

    Attributes:
        images: sequence name -> (X, Y, Z) int16, exactly 0 outside the brain and at least 1 inside.
        label: (X, Y, Z) uint8: 0 healthy, 1 necrosis or solid core, 2 oedema, 4 enhancing.
        affine: (4, 4) voxel to mm, LPS order of the axes as in BraTS.
        grade: "HGG" (enhancing ring), "LGG" (none) or "healthy" (no tumour, the label is 0 throughout).
    """

    images: dict[str, np.ndarray]
    label: np.ndarray
    affine: np.ndarray
    grade: str


def brain_phantom(
    seed: int | Sequence[int],
    shape: Sequence[int] = (120, 120, 78),
    spacing: float | Sequence[float] = 2.0,
    difficulty: float = 0.5,
    grade: str | None = None,
) -> BrainPhantom:
    """Draw one patient.

    Args:
        seed: a seed, or (seed, case number); with the other options it determines every voxel.
        shape: voxels along x, y, z.
        spacing: voxel size in mm, one or three numbers. In a field of view smaller than BraTS's
            240 x 240 x 155 mm the head shrinks to fit.
        difficulty: 0 (bright tumours, clean images) to 1 (faint tumours, many bright healthy patches, strong noise
            and bias).
        grade: "HGG", "LGG" or "healthy"; drawn (three of four are HGG, none healthy) when None.

    Raises:
        ValueError: an option out of range.
    """
    if not 0 <= difficulty <= 1:
        raise UserError(f"difficulty must lie in [0, 1], got {difficulty}")
    if grade not in (None, "HGG", "LGG", "healthy"):
        raise UserError(f"grade must be HGG, LGG or healthy, got {grade}")
    rng = np.random.default_rng(seed)
    drawn = "HGG" if rng.random() < 0.74 else "LGG"
    grade = grade or drawn
    volume, affine = grid(shape, spacing)
    fit = min(1.0, *(n * abs(affine[a, a]) / f for a, (n, f) in enumerate(zip(shape, FIELD_OF_VIEW, strict=True))))
    voxel = float(np.abs(np.diag(affine)[:3]).mean() / fit)

    head = draw_head(rng)
    tumour = draw_tumour(rng, head, grade)
    warp = [noise_field(rng, 60) for _ in range(3)]
    fields = {name: noise_field(rng, scale) for name, scale in NOISES.items()}

    # Only voxels near the brain are computed, as a list of points; the rest is background.
    near = ellipsoid(volume, (0, 0, 0), tuple(fit * r for r in (84, 102, 90)), power=2.5) > 0
    points = volume[:, near] / np.float32(fit)
    p = rotate(points - np.array(head.shift, np.float32)[:, None] - np.array([[0], [0], [3]]), head.tilt)
    p = (p + 2.5 * np.stack([w(p) for w in warp])).astype(np.float32)
    inside = np.maximum(head.cerebrum(p), head.hindbrain(p)) > 0
    near[near] = inside
    p = p[:, inside]

    images, label = draw_tissue(p, head, tumour, fields, rng, difficulty, voxel)
    images = _scan(images, p, near, rng, difficulty)
    full = np.zeros((len(SEQUENCES), *shape), np.int16)
    full[:, near] = images
    labels = np.zeros(shape, np.uint8)
    labels[near] = label
    return BrainPhantom(dict(zip(SEQUENCES, full, strict=True)), labels, affine, grade)


def _scan(
    image: np.ndarray, p: np.ndarray, inside: np.ndarray, rng: np.random.Generator, difficulty: float
) -> np.ndarray:
    """Simulate the scanner: contrast, bias field, Rician noise of slightly correlated voxels, gain; int16."""
    out = np.empty(image.shape, np.int16)
    for c, clean in enumerate(image):
        gamma = rng.uniform(0.85, 1.2)
        strength = (0.04 + 0.14 * difficulty) * rng.uniform(0.5, 1.3)
        sigma = (0.015 + 0.04 * difficulty) * rng.uniform(0.7, 1.4)
        gain = np.exp(rng.uniform(np.log(250), np.log(900)))
        bias = np.exp(strength * noise_field(rng, 90)(p))
        real, imaginary = (part[inside] for part in complex_noise(rng, inside.shape))
        signal = np.clip(clean, 0.02, None) ** gamma * bias
        out[c] = np.clip(np.rint(gain * np.hypot(signal + sigma * real, sigma * imaginary)), 1, 32000)
    return out


def write_brain(phantom: BrainPhantom, folder: Path, case: int) -> Path:
    """Write one patient as FOLDER/{HGG,LGG,healthy}/<case>/<case>_{flair,t1ce,t1,t2,seg}.nii.gz; returns its folder."""
    name = f"Phantom_{case:03d}"
    target = folder / phantom.grade / name
    target.mkdir(parents=True)
    for sequence, image in phantom.images.items():
        save(image, phantom.affine, target / f"{name}_{sequence}.nii.gz")
    save(phantom.label, phantom.affine, target / f"{name}_seg.nii.gz")
    return target
