"""Load NIfTI volumes and validate them before they reach a network."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor, NibabelReader
from monai.transforms import LoadImage, MapTransform
from monai.utils import ensure_tuple, ensure_tuple_rep
from nibabel.spatialimages import SpatialImage

from transeg.errors import VolumeError
from transeg.files import file_name

AFFINE_TOLERANCE = 1e-3  # mm; tools round differently when writing


class LoadVolumed(MapTransform):
    """Load 3D volumes; reject anything that would silently give wrong results.

    A key holds one file (3D for a single channel, 4D with channels last for several) or a list of 3D files, one per
    channel. All keys, and the volume under `like`, must share one grid.

    Args:
        keys: keys to load.
        channels: number of channels, for all keys or per key.
        allowed_labels: label values that the voxels may take (to within 1e-3, then rounded); default any value.
        like: key of a volume, loaded or not, whose grid the loaded ones must match.
        allow_missing_keys: skip keys that are not in the item.

    Returns:
        float32 MetaTensor (C, X, Y, Z) per key, with the affine of its first file.

    Raises:
        VolumeError: missing, unreadable or truncated file, wrong number of dimensions or channels, mismatched grids,
            unusable affine, NaN or infinite voxels, all-zero channel, or unknown label values.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channels: int | Sequence[int] = 1,
        allowed_labels: Sequence[int] | None = None,
        like: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.channels = ensure_tuple_rep(channels, len(self.keys))
        self.allowed_labels = allowed_labels
        self.like = like
        self.reader = LoadImage(NibabelReader, image_only=True, dtype=np.float32, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with volumes instead of file names."""
        item = dict(data)
        reference = _grid(item[self.like]) if self.like else None
        for key, channels in self.key_iterator(item, self.channels):
            item[key] = self._load(item[key], channels)
            reference = reference or _grid(item[key])
            _check_same_grid(item[key], reference)
        return item

    def _load(self, value: Any, channels: int) -> MetaTensor:
        files = [Path(file) for file in ensure_tuple(value)]
        if not files:
            raise VolumeError("empty list of files; give one 4D file, or one 3D file per channel")
        if len(files) > 1 and len(files) != channels:
            names = ", ".join(map(str, files))
            raise VolumeError(
                f"{names}: {len(files)} files, but {channels} channel(s) are needed; give one file per channel"
            )
        for file in files:  # before any slow reading
            _check_exists(file)
        parts = [self._read(file, channels if len(files) == 1 else 1) for file in files]
        for part in parts[1:]:
            _check_same_grid(part, _grid(parts[0]))
        return MetaTensor(torch.cat([part.as_tensor() for part in parts]), meta=parts[0].meta)

    def _read(self, file: Path, channels: int) -> MetaTensor:
        header = _open(file)
        _check_numbers(header, file)
        with _reading(file):
            volume = self.reader(file)
        _check_shape(header.shape, channels, file)
        _check_affine(header, file)
        _check_voxels(volume, file, self.allowed_labels)
        # MONAI's reader rescales the affine where pixdim contradicts it; writers may use either of these
        volume.affine = torch.as_tensor(header.affine, dtype=torch.float64)
        volume.meta["original_affine"] = header.affine
        return volume.round() if self.allowed_labels is not None else volume


def _check_exists(file: Path) -> None:
    if not file.is_file():
        raise VolumeError(f"{file}: no such file; correct the path or exclude the case")


def _open(file: Path) -> SpatialImage:
    """Open a volume without reading its voxels."""
    with _reading(file):
        image = nib.load(file)
        if not isinstance(image, SpatialImage):
            raise TypeError(f"{type(image).__name__} is no image")
    return image


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # readers raise whatever their codecs do
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise VolumeError(
            f"{file}: cannot be read (truncated or not a NIfTI file); copy it again ({reason})"
        ) from error


def _check_numbers(image: SpatialImage, file: Path) -> None:
    kind = image.get_data_dtype()
    if kind.names is not None or kind.kind == "c":
        what = "complex" if kind.kind == "c" else "colour (RGB)"
        raise VolumeError(f"{file}: {what} voxels are not supported; convert to a scalar image")


def _check_shape(shape: tuple[int, ...], channels: int, file: Path) -> None:
    size = len(shape)
    while size > 3 and shape[size - 1] == 1:
        size -= 1
    if size < 3 or size > 4:
        raise VolumeError(f"{file}: {size}D image {shape}, but a 3D volume is needed; convert it to a 3D file")
    found = shape[3] if size == 4 else 1
    if found == channels:
        return
    if channels == 1:
        raise VolumeError(f"{file}: 4D file with {found} channels, but a 3D volume is needed; extract one channel")
    raise VolumeError(
        f"{file}: {found} channel(s), but {channels} are needed; give a 4D file with {channels} "
        f"channels last, or a list of {channels} 3D files"
    )


def _check_affine(image: SpatialImage, file: Path) -> None:
    if isinstance(image, nib.Nifti1Image):
        codes = [int(image.header[key]) for key in ("qform_code", "sform_code")]
        if not any(codes):
            raise VolumeError(f"{file}: no orientation (qform and sform codes are 0); set the affine")
    if not np.isfinite(image.affine).all() or abs(np.linalg.det(image.affine[:3, :3])) < 1e-9:
        raise VolumeError(f"{file}: singular or non-finite affine; correct it")


def _check_voxels(volume: MetaTensor, file: Path, allowed_labels: Sequence[int] | None) -> None:
    voxels = volume.numpy()
    bad = voxels.size - int(np.isfinite(voxels).sum())
    if bad:
        raise VolumeError(f"{file}: {bad} NaN or infinite voxels; replace them (e.g. by 0 in the background)")
    if allowed_labels is not None:
        values = np.unique(voxels)
        nearest = np.abs(values[:, None] - np.asarray(allowed_labels)[None]).min(axis=1)
        unknown = values[nearest > 1e-3]
        if unknown.size:
            some = ", ".join(f"{value:g}" for value in unknown[:5])
            raise VolumeError(
                f"{file}: {unknown.size} unknown label value(s) ({some}); "
                f"allowed are {sorted(allowed_labels)}; map them first"
            )
        return
    for number, channel in enumerate(voxels):
        if not channel.any():
            which = f"channel {number} of the volume" if len(voxels) > 1 else "the volume"
            raise VolumeError(f"{file}: {which} is all zero; replace the file or exclude the case")


class _Grid(NamedTuple):
    file: str
    shape: tuple[int, ...]
    affine: np.ndarray


def _grid(value: Any) -> _Grid:
    """Grid of a volume, or of its first file if not loaded yet."""
    if isinstance(value, MetaTensor):
        return _Grid(file_name(value), tuple(value.shape[1:]), value.affine.numpy())
    file = Path(file_name(value))
    _check_exists(file)
    header = _open(file)
    return _Grid(str(file), tuple(header.shape[:3]), header.affine)


def _check_same_grid(volume: MetaTensor, reference: _Grid) -> None:
    file, shape, affine = _grid(volume)
    if shape != reference.shape:
        raise VolumeError(
            f"{file}: shape {shape}, but {reference.file} has {reference.shape}; resample to a common grid"
        )
    difference = float(np.abs(affine - reference.affine).max())
    if difference > AFFINE_TOLERANCE:
        raise VolumeError(
            f"{file}: its affine differs from that of {reference.file} by up to {difference:.3g}; "
            "register and resample to a common grid"
        )
