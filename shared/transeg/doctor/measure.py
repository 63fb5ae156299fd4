"""What is measured of each scan, in one reading."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from multiprocessing import get_context
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from transeg.doctor.scans import Scan
from transeg.errors import DataError, UserError, VolumeError
from transeg.metrics.silhouette import body
from transeg.transforms.checks import fill_outside
from transeg.transforms.grid import GRID_TOLERANCE, grid_distance, voxel_size
from transeg.transforms.read import open_volume, read_volume

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of the foreground
SCALE = (0.5, 99.5)  # percentiles that become -1 and 1 in scans that are not prepared yet
THUMBNAIL = (32, 32, 8)  # coarse enough that resampling does not show, fine enough to tell patients apart
SMOOTH = (2.0, 2.0, 1.0)  # voxels of a thumbnail: what all scans of a body part share is coarser
MAX_VALUE = 65535  # of masks; larger values are intensities
DARK = 0.5  # percentile of the voxels up to which a background is black
CONSTANT = 0.25  # of the voxels at the border of the slices that are alike: a background that was set, not imaged
FACES = ndimage.generate_binary_structure(3, 1) & (np.arange(3) == 1)  # in the plane


class Loaded(NamedTuple):
    """An image float32 (C, X, Y, Z), whether its units are the slices along Z, and its affine unless prepared."""

    voxels: np.ndarray
    sliced: bool
    affine: np.ndarray | None

    def units(self) -> list[np.ndarray]:
        """Slices (C, X, Y), or the volume."""
        return [*np.moveaxis(self.voxels, -1, 0)] if self.sliced else [self.voxels]


class Grid(NamedTuple):
    """Of the original file.

    Attributes:
        spacing: voxel size in mm along the axes of the file (3,).
        shape: voxels along them (3,).
        codes: their orientation, such as "RAS".
    """

    spacing: tuple[float, ...]
    shape: tuple[int, ...]
    codes: str


@dataclass
class Measures:
    """Of one scan of N units, the slices of a stack or one volume, and C channels.

    Attributes:
        fault: kind and reason, if it cannot be used at all.
        shape: of a unit: channels, then voxels.
        units: N.
        bad: number of NaN and infinite voxels (N,).
        flat: channels that are constant (N, C).
        digests: hash of the voxels (N,); "" if constant.
        shown: share of the voxels that differ from the most common one at the border.
        extent: of the foreground along each axis, as a share of the image (N, 2 or 3).
        quantiles: of the foreground (N, C, 5).
        texture: mean difference of neighbours in the plane, in the foreground (N, C).
        saturated: share of the foreground that has the highest value (C,).
        copies: pairs of equal channels.
        thumbnail: band-passed and of unit norm, `THUMBNAIL`; None of a constant scan.
        label_fault: kind and reason, if the mask cannot be used.
        values: voxels of each value of the mask above 0 (N,).
        broken: a value of the mask that is no class: negative, no whole number, or too large.
        outside: share of the mask outside the body.
        contrast: mean gradient of the image at the boundary of the mask relative to that in the body, as it is ("")
            and flipped along an axis ("X", "Y").
        specks: single voxels of the mask without a neighbour in the plane, per slice that shows it.
        grid: of the original file.
        source_fault: why its header cannot be read.
    """

    fault: tuple[str, str] | None = None
    shape: tuple[int, ...] = ()
    units: int = 0
    bad: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    flat: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), bool))
    digests: list[str] = field(default_factory=list)
    shown: float = 1.0
    extent: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    quantiles: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0)))
    texture: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    saturated: np.ndarray = field(default_factory=lambda: np.zeros(0))
    copies: list[tuple[int, int]] = field(default_factory=list)
    thumbnail: np.ndarray | None = None
    label_fault: tuple[str, str] | None = None
    values: dict[int, np.ndarray] = field(default_factory=dict)
    broken: float | None = None
    outside: float = 0.0
    contrast: dict[str, float] = field(default_factory=dict)
    specks: float = 0.0
    grid: Grid | None = None
    source_fault: str = ""


def measure_all(scans: Sequence[Scan], workers: int = 1) -> list[Measures]:
    """Measure every scan, with a progress bar; several processes if there is more than one worker."""
    return list(_progress(scans, workers))


def _progress(scans: Sequence[Scan], workers: int) -> Iterator[Measures]:
    def bar(found: Iterator[Measures]) -> Iterator[Measures]:
        return iter(tqdm(found, total=len(scans), desc="reading", unit="scan", disable=None))

    if workers <= 1:
        yield from bar(map(measure, scans))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from bar(pool.map(measure, scans))


def measure(scan: Scan) -> Measures:
    """Read a scan and its mask; faults of both are told, not raised."""
    found = Measures()
    found.grid, found.source_fault = _grid(scan)
    if scan.problem:
        found.fault = ("missing_channel", scan.problem)
        return found
    try:
        image = load_image(scan)
    except UserError as error:
        found.fault = ("grid" if isinstance(error, GridError) else "unreadable", str(error))
        return found
    inside = _measure_image(found, image)
    if scan.label is not None:
        try:
            _measure_label(found, load_label(scan, image), image, inside)
        except UserError as error:
            found.label_fault = ("grid" if isinstance(error, GridError) else "unreadable", str(error))
    return found


class GridError(DataError):
    """Images or a mask of another grid."""


def load_image(scan: Scan) -> Loaded:
    """Read the image of a scan.

    Raises:
        UserError: a file cannot be read.
        GridError: its channels are on different grids.
    """
    if scan.is_stack:
        stack = _stack(scan.images[0])
        if stack.ndim not in (4, 5) or not stack.size:
            raise DataError(f"{scan.images[0]}: shape {stack.shape} is not that of a stack; prepare the data again")
        return Loaded(_along_z(stack).astype(np.float32), stack.ndim == 4, None)
    volumes = [read_volume(reference, scan.spacing) for reference in scan.images]
    affine = volumes[0].affine.numpy()
    for volume, reference in zip(volumes, scan.images, strict=True):
        _check_grid(volume.shape[1:], volume.affine.numpy(), volumes[0].shape[1:], affine, reference)
    return Loaded(np.concatenate([volume.numpy() for volume in volumes]), False, affine)


def load_label(scan: Scan, image: Loaded) -> np.ndarray:
    """Read the mask (X, Y, Z) of a scan that has one.

    Raises:
        UserError: the file cannot be read.
        GridError: it is not on the grid of the image.
    """
    assert scan.label is not None
    if image.affine is None:
        label = _along_z(_stack(scan.label)[:, None])[0]
        affine = image_affine = np.eye(4)
    else:
        volume = read_volume(scan.label, scan.spacing)
        label, affine, image_affine = volume.numpy()[0], volume.affine.numpy(), image.affine
    _check_grid(label.shape, affine, image.voxels.shape[1:], image_affine, scan.label)
    return label


def _stack(path: str) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: not a whole .npy file ({error})") from error


def _along_z(stack: np.ndarray) -> np.ndarray:
    """(N, C, X, Y) -> (C, X, Y, N); (1, C, X, Y, Z) -> (C, X, Y, Z)."""
    return np.moveaxis(stack, 0, -1) if stack.ndim == 4 else stack[0]


def _check_grid(
    shape: Sequence[int], affine: np.ndarray, expected: Sequence[int], reference: np.ndarray, name: str
) -> None:
    if tuple(shape) != tuple(expected):
        raise GridError(f"{name}: {tuple(shape)} voxels, but the image has {tuple(expected)}")
    distance = grid_distance(affine, reference, tuple(shape))
    if not distance <= GRID_TOLERANCE * voxel_size(reference).min():
        raise GridError(f"{name}: its grid lies up to {distance:.3g} mm off that of the image")


def _grid(scan: Scan) -> tuple[Grid | None, str]:
    if scan.source is None:
        return None, ""
    try:
        opened = open_volume(scan.source, scan.spacing or (1.0, 1.0, 1.0))
    except UserError as error:
        return None, str(error)
    codes = "".join(code or "?" for code in nib.orientations.aff2axcodes(opened.affine))
    return Grid(tuple(voxel_size(opened.affine).round(3).tolist()), tuple(opened.shape), codes), ""


def _measure_image(found: Measures, image: Loaded) -> np.ndarray:
    """Fill in what is measured of an image; returns its foreground, bool (X, Y, Z)."""
    voxels = image.voxels
    if image.affine is not None:
        voxels = _without_border_nan(voxels)
    units = image._replace(voxels=voxels).units()
    found.units, found.shape = len(units), units[0].shape
    found.bad = np.array([np.count_nonzero(~np.isfinite(unit)) for unit in units])
    if found.bad.any():
        voxels = np.nan_to_num(voxels, nan=0.0, posinf=0.0, neginf=0.0)
    inside = _foreground(voxels)
    voxels = voxels if image.affine is None else _scaled(voxels, inside)
    units = image._replace(voxels=voxels).units()
    masks = [*np.moveaxis(inside, -1, 0)] if image.sliced else [inside]
    found.flat = np.array([[channel.min() == channel.max() for channel in unit] for unit in units])
    found.digests = [
        "" if flat.all() else hashlib.sha256(unit.tobytes()).hexdigest()
        for unit, flat in zip(units, found.flat, strict=True)
    ]
    found.shown = float((voxels != _border_values(voxels)[0][:, None, None, None]).any(axis=0).mean())
    found.extent = np.array([_extent(mask) for mask in masks])
    found.quantiles = np.array([_quantiles(unit, mask) for unit, mask in zip(units, masks, strict=True)])
    found.texture = np.array([_texture(unit, mask) for unit, mask in zip(units, masks, strict=True)])
    if inside.any():
        found.saturated = np.array([(channel[inside] == channel.max()).mean() for channel in voxels])
    found.copies = [(a, b) for a, b in combinations(range(len(voxels)), 2) if np.array_equal(voxels[a], voxels[b])]
    found.thumbnail = _thumbnail(voxels[0], inside)
    return inside


def _foreground(voxels: np.ndarray) -> np.ndarray:
    """The body (X, Y, Z): what is brighter than air, or what differs from a constant background that is not dark."""
    values, shares = _border_values(voxels)
    dark = np.percentile(voxels, DARK, axis=(1, 2, 3))
    if (shares < CONSTANT).any() or (values <= dark).any():
        return body(voxels)
    differs = (voxels != values[:, None, None, None]).any(axis=0)
    return ndimage.binary_fill_holes(differs, structure=np.ones((3, 3, 1), bool))


def _border_values(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The most common value of each channel at the border of the slices, and its share there, (C,) each."""
    found = []
    for channel in voxels:
        border = np.concatenate([channel[[0, -1]].ravel(), channel[:, [0, -1]].ravel()])
        values, counts = np.unique(border, return_counts=True)
        found.append((values[counts.argmax()], counts.max() / len(border)))
    values, shares = np.array(found).T
    return values.astype(np.float32), shares


def _without_border_nan(voxels: np.ndarray) -> np.ndarray:
    """NaN beyond the field of view are filled, as loading would; others stay."""
    try:
        return fill_outside(voxels, "scan")
    except VolumeError:
        return voxels


def _scaled(voxels: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Each channel with `SCALE` of its foreground at -1 and 1, clipped there as by the preparation."""
    scaled = []
    for channel in voxels:
        low, high = np.percentile(channel[inside] if inside.any() else channel, SCALE)
        scaled.append((channel - low) * (2 / (high - low) if high > low else 0.0) - 1)
    return np.stack(scaled).astype(np.float32)


def _extent(mask: np.ndarray) -> list[float]:
    spans = [np.flatnonzero(mask.any(axis=tuple({*range(mask.ndim)} - {axis}))) for axis in range(mask.ndim)]
    return [(span[-1] - span[0] + 1) / size if len(span) else 0.0 for span, size in zip(spans, mask.shape, strict=True)]


def _quantiles(unit: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return np.full((len(unit), len(QUANTILES)), np.nan)
    return np.quantile(unit[:, mask], QUANTILES, axis=1).T


def _texture(unit: np.ndarray, mask: np.ndarray) -> np.ndarray:
    pairs = mask[1:] & mask[:-1]
    return np.abs(np.diff(unit, axis=1))[:, pairs].mean(axis=1) if pairs.any() else np.full(len(unit), np.nan)


def _thumbnail(channel: np.ndarray, inside: np.ndarray) -> np.ndarray | None:
    """The foreground at a few voxels, without what is smooth."""
    spans = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not all(map(len, spans)):
        return None
    box = channel[tuple(slice(span[0], span[-1] + 1) for span in spans)]
    small = torch.nn.functional.adaptive_avg_pool3d(torch.from_numpy(np.ascontiguousarray(box))[None], THUMBNAIL)
    detail = small[0].numpy() - ndimage.gaussian_filter(small[0].numpy(), SMOOTH)
    norm = float(np.linalg.norm(detail - detail.mean()))
    return (detail - detail.mean()) / norm if norm > 0 else None


def _measure_label(found: Measures, label: np.ndarray, image: Loaded, inside: np.ndarray) -> None:
    """Fill in what is measured of a mask (X, Y, Z)."""
    values = np.unique(label)
    wrong = [value for value in values.tolist() if value != round(value) or not 0 <= value <= MAX_VALUE]
    if wrong:
        found.broken = float(wrong[0])
        return
    units = [*np.moveaxis(label, -1, 0)] if image.sliced else [label]
    found.values = {
        int(value): np.array([np.count_nonzero(unit == value) for unit in units]) for value in values if value > 0
    }
    mask = label > 0
    if not mask.any():
        return
    found.outside = float(1 - inside[mask].mean()) if inside.any() else 1.0
    sizes = np.bincount(ndimage.label(mask, FACES)[0].ravel())[1:]
    found.specks = float((sizes == 1).sum() / np.count_nonzero(mask.any(axis=(0, 1))))
    voxels = np.nan_to_num(image.voxels, nan=0.0, posinf=0.0, neginf=0.0)
    found.contrast = _contrasts(voxels, label, inside)


def _contrasts(voxels: np.ndarray, label: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    """See `Measures.contrast`."""
    gradient = np.zeros(label.shape, np.float32)
    for channel in voxels:
        spread = channel[inside].std() if inside.any() else 0.0
        if spread > 0:
            x, y = (np.gradient(channel, axis=axis) if channel.shape[axis] > 1 else 0.0 for axis in (0, 1))
            gradient += np.hypot(x, y) / spread
    typical = float(gradient[inside].mean()) if inside.any() else 0.0
    if typical == 0:
        return {}
    flips = {"": label, "X": label[::-1], "Y": label[:, ::-1]}
    return {name: float(gradient[_boundary(flipped)].mean()) / typical for name, flipped in flips.items()}


def _boundary(label: np.ndarray) -> np.ndarray:
    """Voxels with another value than a neighbour in the plane, bool (X, Y, Z)."""
    found = np.zeros(label.shape, bool)
    for axis in (0, 1):
        ahead, behind = (np.take(label, range(k, label.shape[axis] - 1 + k), axis) for k in (1, 0))
        differs = ahead != behind
        width = [(0, 0)] * 3
        for side in ((0, 1), (1, 0)):
            width[axis] = side
            found |= np.pad(differs, width)
    return found
