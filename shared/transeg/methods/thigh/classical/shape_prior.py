"""Shape maps: probability of muscle from the other subjects' legs after registration.

Gadermayr et al., Front. Radiol. 2021, section 2.2: "estimating a probability map for each pixel after an initial
registration". Here: registration of silhouettes or intensities, affine and optionally by a B-spline, one leg at a time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813

MARGIN = 16.0  # mm of background around a leg, as the metric is evaluated inside the image only
LEVELS = (8.0, 4.0)  # pixel size of the registered images in mm, coarse to fine
ITERATIONS = 60
SPLINE_ITERATIONS = 10  # each takes many evaluations; more of them fit the noise of silhouettes
SLICES_STAY_SLICES = (1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1)  # optimiser weights of a 3D affine transform: z' = z + t


@dataclass(frozen=True)
class Leg:
    """A leg cropped from a scan; right legs are mirrored, so that all are of the same side.

    Attributes:
        subject: name of the subject; excluded from the shape maps of the same subject.
        body: silhouette, bool (X, Y, Z).
        spacing: voxel size in mm.
        box: position in the scan.
        mirrored: whether it is mirrored along X.
        muscle: annotated mask, bool (X, Y, Z), or None.
        image: intensities (X, Y, Z), for registration by intensity, or None.
    """

    subject: str
    body: np.ndarray
    spacing: tuple[float, ...]
    box: tuple[slice, ...]
    mirrored: bool = False
    muscle: np.ndarray | None = None
    image: np.ndarray | None = None


def crop_legs(
    subject: str,
    body: np.ndarray,
    regions: Mapping[str, np.ndarray],
    spacing: Sequence[float],
    muscle: np.ndarray | None = None,
    image: np.ndarray | None = None,
) -> list[Leg]:
    """Crop the legs of a scan (X, Y, Z); the one named "right" is mirrored.

    Args:
        subject: name of the subject.
        body: silhouette.
        regions: region of each leg, by name (`transeg.methods.thigh.legs.split_legs`).
        spacing: voxel size in mm.
        muscle: annotated mask.
        image: intensities.

    Raises:
        ValueError: no body in a region.
    """
    legs = []
    for name, region in regions.items():
        own, mirrored = np.asarray(region, bool) & np.asarray(body, bool), name == "right"
        if not own.any():
            raise ValueError(f"{subject}: no body in the region of the {name}; check the image")
        box = _box(own, spacing)
        mask = None if muscle is None else _mirrored((own & (np.asarray(muscle) != 0))[box], mirrored)
        grey = None if image is None else _mirrored(np.where(own, image, image.min())[box], mirrored)
        legs.append(Leg(subject, _mirrored(own[box], mirrored), tuple(map(float, spacing)), box, mirrored, mask, grey))
    return legs


def register(
    fixed: Leg, moving: Leg, by: Literal["silhouette", "intensity"] = "silhouette", bspline: bool = False
) -> sitk.Transform:
    """Find the transform from points of `fixed` to points of `moving`.

    The metric uses all voxels and a single thread, so the result is deterministic. Slices are mapped to slices; a scan
    of one slice is registered in 2D.

    Args:
        fixed: fixed leg.
        moving: leg to align.
        by: mean squares of the silhouettes, which do not change with the grade of disease, or mutual information of
            the intensities.
        bspline: refine by a cubic B-spline with 4 x 4 meshes in-plane; ten times slower.

    Raises:
        ValueError: registration by intensity without images, or of a single slice to several.
    """
    flat = {leg.body.shape[2] == 1 for leg in (fixed, moving)}
    if len(flat) == 2:
        raise ValueError(f"{fixed.subject} and {moving.subject}: cannot register a single slice to several")
    if by == "intensity" and (fixed.image is None or moving.image is None):
        raise ValueError(
            f"{fixed.subject}, {moving.subject}: registration by intensity requires the images of the legs"
        )
    pyramid = [(_registration_image(fixed, by, size), _registration_image(moving, by, size)) for size in LEVELS]
    start = sitk.AffineTransform(pyramid[0][0].GetDimension())
    moments = sitk.CenteredTransformInitializerFilter.MOMENTS
    transform = sitk.CenteredTransformInitializer(*pyramid[0], start, moments)
    for still, moved in pyramid:
        transform = _affine(still, moved, transform, by)
    return _refined(*pyramid[-1], transform, by) if bspline else transform


def shape_map(
    leg: Leg, atlas: Sequence[Leg], by: Literal["silhouette", "intensity"] = "silhouette", bspline: bool = False
) -> np.ndarray:
    """p_sp of a leg: mean of the warped muscle masks of all other subjects' legs; float32, shape of the leg.

    Raises:
        ValueError: no annotated leg of another subject.
    """
    others = [(other, other.muscle) for other in atlas if other.subject != leg.subject and other.muscle is not None]
    if not others:
        raise ValueError(f"{leg.subject}: a shape map requires an annotated leg of another subject")
    total = np.zeros(leg.body.shape, np.float32)
    for other, muscle in others:
        moved = _image(muscle, other.spacing)
        warp = register(leg, other, by, bspline)
        # extrapolate beyond the first and last slice
        warped = sitk.Resample(moved, _image(leg.body, leg.spacing), warp, sitk.sitkLinear, 0.0, sitk.sitkFloat32, True)
        total += sitk.GetArrayFromImage(warped).T.reshape(total.shape)
    return total / len(others)


def scan_shape_map(shape: Sequence[int], legs: Sequence[Leg], atlas: Sequence[Leg], **options: Any) -> np.ndarray:
    """p_sp of a scan of this shape, 0 outside its legs; options as for `shape_map`."""
    total = np.zeros(tuple(shape), np.float32)
    for leg in legs:
        part = _mirrored(shape_map(leg, atlas, **options), leg.mirrored)
        total[leg.box] = np.maximum(total[leg.box], part * _mirrored(leg.body, leg.mirrored))
    return total


def save_atlas(path: str | os.PathLike, legs: Sequence[Leg]) -> None:
    """Write annotated legs as a compressed .npz that loads without pickle; images are omitted."""
    content: dict[str, Any] = {}
    for k, leg in enumerate(legs):
        content |= {f"{k}_subject": leg.subject, f"{k}_body": leg.body, f"{k}_muscle": leg.muscle != 0}
        content[f"{k}_spacing"] = np.array(leg.spacing)
    np.savez_compressed(path, **content)


def load_atlas(path: str | os.PathLike) -> list[Leg]:
    """Read what `save_atlas` wrote."""
    with np.load(path, allow_pickle=False) as content:
        count = len(content.files) // 4
        rows = [[content[f"{k}_{name}"] for name in ("subject", "body", "spacing", "muscle")] for k in range(count)]
    return [
        Leg(str(subject), body, tuple(spacing.tolist()), tuple(slice(0, n) for n in body.shape), False, muscle)
        for subject, body, spacing, muscle in rows
    ]


def _box(mask: np.ndarray, spacing: Sequence[float]) -> tuple[slice, ...]:
    """In-plane bounding box with a margin; all slices."""
    box = []
    for axis in (0, 1):
        along = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(MARGIN / spacing[axis]))
        box.append(slice(max(0, int(along[0]) - margin), min(mask.shape[axis], int(along[-1]) + 1 + margin)))
    return (*box, slice(0, mask.shape[2]))


def _mirrored(part: np.ndarray, mirrored: bool) -> np.ndarray:
    return part[::-1] if mirrored else part


def _image(array: np.ndarray, spacing: Sequence[float]) -> sitk.Image:
    """Float image; 2D if there is only one slice."""
    flat = array.shape[2] == 1
    image = sitk.GetImageFromArray(np.ascontiguousarray((array[..., 0] if flat else array).T, dtype=np.float32))
    image.SetSpacing(tuple(spacing)[: image.GetDimension()])
    return image


def _registration_image(leg: Leg, by: str, size: float) -> sitk.Image:
    """Silhouette or intensities with a margin, smoothed and downsampled in-plane to pixels of `size` mm."""
    source = leg.body if by == "silhouette" else leg.image
    assert source is not None  # `register` has checked it
    factors = [max(1, round(size / step)) for step in leg.spacing[:2]]
    pads = [int(np.ceil(MARGIN / step)) for step in leg.spacing[:2]]
    fill = float(np.min(source))
    image = _image(source, leg.spacing)
    rest = [0] * (image.GetDimension() - 2)
    image = sitk.ConstantPad(image, [*pads, *rest], [*pads, *rest], fill)
    sigmas = [size / 2, size / 2, *[0.0] * len(rest)]
    image = sitk.DiscreteGaussian(image, [sigma**2 for sigma in sigmas], maximumKernelWidth=64)
    return sitk.Shrink(image, [*factors, *[1] * len(rest)])


def _method(by: str) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    if by == "silhouette":
        method.SetMetricAsMeanSquares()
    else:
        method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetNumberOfThreads(1)
    return method


def _affine(fixed: sitk.Image, moving: sitk.Image, start: sitk.Transform, by: str) -> sitk.Transform:
    method = _method(by)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    if fixed.GetDimension() == 3:
        method.SetOptimizerWeights(SLICES_STAY_SLICES)
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def _refined(fixed: sitk.Image, moving: sitk.Image, affine: sitk.Transform, by: str) -> sitk.Transform:
    mesh = [4, 4, 1][: fixed.GetDimension()]
    method = _method(by)
    method.SetOptimizerAsLBFGSB(numberOfIterations=SPLINE_ITERATIONS)
    method.SetMovingInitialTransform(affine)
    method.SetInitialTransform(sitk.BSplineTransformInitializer(fixed, mesh), inPlace=False)
    return sitk.CompositeTransform([affine, method.Execute(fixed, moving)])
