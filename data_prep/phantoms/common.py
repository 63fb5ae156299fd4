"""Shared by the phantoms of every organ: coordinates, smooth noise, soft shapes, atomic output folders.

Anatomy is described by functions of position in millimetres (axes right, anterior, superior), never of voxels, so the
same patient can be drawn on any grid. Shapes are signed distances, positive inside; `soft` converts a distance into the
fraction of a voxel that lies inside, i.e. the partial volume.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from transeg.errors import UserError

Field = Callable[[np.ndarray], np.ndarray]
Vector = Sequence[float] | np.ndarray
MARKER = "phantoms.json"
NOISE_NODES = 32
# A quadratic B-spline has mean square 0.55, so white coefficients give this standard deviation in three dimensions.
NOISE_STD = 0.55**1.5


def triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    """Expand one number to all three axes, or check three of them.

    Raises:
        ValueError: not one or three positive numbers.
    """
    values = np.repeat(value, 3) if np.ndim(value) == 0 else np.asarray(value)
    if values.shape != (3,) or not (values > 0).all():
        raise UserError(f"expected one or three positive numbers, got {value}")
    x, y, z = values.tolist()
    return x, y, z


def grid(shape: Sequence[int], spacing: float | Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Voxel positions and the affine of the file.

    Returns:
        Points (3, X, Y, Z) float32 in mm (right, anterior, superior) with 0 at the centre of the volume, and the
        4x4 affine of an LPS volume laid out as BraTS lays out its own (index 0 is right, anterior, inferior; the
        origin is at the first x, the last y and the first z).
    """
    spacing = triple(spacing)
    if len(shape) != 3 or min(shape) < 8:
        raise UserError(f"shape must be three sizes of at least 8 voxels, got {tuple(shape)}")
    direction = (-1.0, -1.0, 1.0)
    axes = [
        (s * d * (np.arange(n) - (n - 1) / 2)).astype(np.float32)
        for n, s, d in zip(shape, spacing, direction, strict=True)
    ]
    affine = np.diag([*(s * d for s, d in zip(spacing, direction, strict=True)), 1.0])
    affine[1, 3] = (shape[1] - 1) * spacing[1]
    return np.stack(np.meshgrid(*axes, indexing="ij")), affine


def noise_field(rng: np.random.Generator, scale: float) -> Field:
    """Smooth random field of mean 0 and variance about 1: a quadratic B-spline on a lattice of white noise.

    Args:
        rng: source of the lattice.
        scale: node spacing of the lattice in mm; the field repeats after 32 nodes.

    Returns:
        Function of points (3, ...) in mm with values (...) float32.
    """
    lattice = rng.standard_normal((NOISE_NODES,) * 3, dtype=np.float32) / np.float32(NOISE_STD)

    def field(points: np.ndarray) -> np.ndarray:
        nodes = points / np.float32(scale) + np.float32(NOISE_NODES / 2)
        return map_coordinates(lattice, nodes, order=2, mode="grid-wrap", prefilter=False, output=np.float32)

    return field


def rotate(points: np.ndarray, degrees: Vector) -> np.ndarray:
    """Rotate points (3, ...) about the x, y and z axes by `degrees`."""
    for axis, angle in enumerate(np.deg2rad(degrees)):
        first, second = [a for a in range(3) if a != axis]
        matrix = np.eye(3, dtype=np.float32)
        matrix[[first, second], [first, second]] = np.cos(angle)
        matrix[first, second], matrix[second, first] = -np.sin(angle), np.sin(angle)
        points = np.tensordot(matrix, points, axes=1)
    return points


def ellipsoid(points: np.ndarray, centre: Vector, radii: Vector, power: float = 2.0) -> np.ndarray:
    """Distance in mm to the surface of a (super-)ellipsoid along the ray from its centre, positive inside."""
    terms = [(p - c, r) for p, c, r in zip(points, centre, radii, strict=True)]
    level = sum(np.abs(offset / r) ** power for offset, r in terms) ** np.float32(1 / power)
    level = np.maximum(level, 1e-3)
    reach = np.sqrt(sum(offset**2 for offset, _ in terms)) / level
    return (1 - level) * np.maximum(reach, min(radii))


def soft(distance: np.ndarray, width: float) -> np.ndarray:
    """Fraction of a voxel inside a surface at signed `distance`: a linear ramp of `width` mm."""
    return np.clip(distance / np.float32(width) + np.float32(0.5), 0, 1)


def mix(image: np.ndarray, weight: np.ndarray, value: np.ndarray | float) -> None:
    """Replace the fraction `weight` of `image` by `value`, in place."""
    image += weight * (value - image)


def complex_noise(rng: np.random.Generator, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Real and imaginary noise of slightly correlated voxels, each with a standard deviation of about 1."""
    real, imaginary = (gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.45) / 0.6 for _ in range(2))
    return real, imaginary


def save(array: np.ndarray, affine: np.ndarray, path: Path) -> None:
    """Write a NIfTI volume in mm with scanner coordinates."""
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


@contextmanager
def staged_folder(out: Path, overwrite: bool = False) -> Iterator[Path]:
    """Temporary folder beside `out` that replaces it if the block ends without an error.

    Raises:
        FileExistsError: `out` is not empty and `overwrite` is off, or `out` was not written by this command (no
            phantoms.json), in which case it is never removed.
    """
    out = Path(os.path.abspath(out))
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"{out} is a file; choose a folder")
    if out.exists() and any(out.iterdir()):
        if not overwrite:
            raise FileExistsError(f"{out} is not empty; choose another folder or pass --overwrite")
        if not (out / MARKER).exists():
            raise FileExistsError(f"{out} contains no {MARKER}, so it is not overwritten; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield stage
        stage.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        stage.rename(out)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_marker(folder: Path, **options: object) -> None:
    """Record in the folder that its images are synthetic, and the options that they were made with."""
    (folder / MARKER).write_text(json.dumps({"synthetic": True, **options}, indent=2) + "\n")
