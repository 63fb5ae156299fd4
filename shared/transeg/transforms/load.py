"""Load volumes and validate them before they reach a network."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple, ensure_tuple_rep

from transeg.errors import VolumeError
from transeg.files import file_name
from transeg.transforms.checks import check_labels, check_not_zero, fill_outside
from transeg.transforms.grid import GRID_TOLERANCE, VolumeFile, grid_distance, reading, voxel_size
from transeg.transforms.read import open_volume


class LoadVolumed(MapTransform):
    """Load 3D volumes; reject anything that would silently give wrong results.

    A key holds one reference (see `transeg.references`) to a volume with as many channels as needed, a list of
    references, one per channel, or a loaded volume (C, X, Y, Z), which is checked all the same. All keys, and the
    volume under `like`, must share one grid; corners may be up to 5 % of the smallest voxel size apart. NaN that
    reach the border of the volume are background, see `fill_outside`.

    Args:
        keys: keys to load.
        channels: number of channels, for all keys or per key.
        allowed_labels: label values that the voxels may take (to within 1e-3, then rounded), or the class of each
            value, to which the voxels are then mapped; default any value.
        like: key of a volume, loaded or not, whose grid the loaded ones must match and take.
        allow_missing_keys: skip keys that are not in the item.
        may_be_empty: whether a channel without `allowed_labels` may be all zero, as a mask may.

    Returns:
        float32 MetaTensor (C, X, Y, Z) per key, with the meta data of its first file, see `read_volume`. The item's
        "spacing" is the voxel size of slices.

    Raises:
        VolumeError: the item has a "problem", see `transeg.data.table.Case.item`; missing, unreadable or truncated
            file, wrong number of dimensions or channels, mismatched grids, unusable affine, infinite voxels or NaN
            inside, all-zero channel, or unknown label values.
    """

    def __init__(
        self,
        keys: KeysCollection,
        channels: int | Sequence[int] = 1,
        allowed_labels: Collection[int] | Mapping[int, int] | None = None,
        like: str | None = None,
        allow_missing_keys: bool = False,
        may_be_empty: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.may_be_empty = may_be_empty
        self.channels = ensure_tuple_rep(channels, len(self.keys))
        self.allowed_labels = allowed_labels
        self.like = like

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with volumes instead of references."""
        item = dict(data)
        if "problem" in item:
            raise VolumeError(item["problem"])
        spacing = item.get("spacing")
        reference = _grid(item[self.like], spacing) if self.like else None
        for key, channels in self.key_iterator(item, self.channels):
            item[key] = self._load(item[key], channels, spacing)
            reference = reference or _grid(item[key])
            _put_on_grid(item[key], reference)
        return item

    def _load(self, value: Any, channels: int, spacing: Sequence[float] | None) -> MetaTensor:
        parts = [value] if isinstance(value, MetaTensor) else list(ensure_tuple(value))
        if not parts:
            raise VolumeError("empty list of files; give one file with all channels, or one 3D file per channel")
        if len(parts) > 1 and len(parts) != channels:
            raise VolumeError(
                f"{', '.join(map(file_name, parts))}: {len(parts)} files, but {channels} channel(s) are needed; give "
                "one file per channel"
            )
        each = channels if len(parts) == 1 else 1
        # all headers before any slow reading
        opened = [part if isinstance(part, MetaTensor) else open_volume(part, spacing) for part in parts]
        volumes = [self._read(part, each) for part in opened]
        for volume in volumes[1:]:
            _put_on_grid(volume, _grid(volumes[0]))
        if len(volumes) == 1:
            return volumes[0]
        return MetaTensor(torch.cat([volume.as_tensor() for volume in volumes]), meta=volumes[0].meta)

    def _read(self, volume: VolumeFile | MetaTensor, channels: int) -> MetaTensor:
        if isinstance(volume, MetaTensor):
            name, found, shape = file_name(volume), len(volume), tuple(volume.shape[1:])
            if len(shape) != 3:
                raise VolumeError(f"{name}: loaded with shape {tuple(volume.shape)}; expected (C, X, Y, Z)")
            affine = volume.affine.cpu()
            meta = {"original_affine": affine.numpy()} | {k: v for k, v in volume.meta.items() if k != "affine"}
        else:
            name, found, affine, meta = volume.name, volume.channels, torch.as_tensor(volume.affine), volume.meta
        _check_channels(found, channels, name)
        if isinstance(volume, MetaTensor):
            voxels = volume.as_tensor().detach().cpu().float().numpy()
        else:
            with reading(name):
                voxels = volume.voxels()
        voxels = fill_outside(voxels, name)
        if self.allowed_labels is not None:
            voxels = check_labels(voxels, self.allowed_labels, name)
        elif not self.may_be_empty:
            check_not_zero(voxels, name)
        return MetaTensor(torch.from_numpy(voxels), affine=affine, meta=dict(meta))


def _check_channels(found: int, channels: int, name: str) -> None:
    if found == channels:
        return
    if channels == 1:
        raise VolumeError(
            f"{name}: 4D file with {found} channels, but a 3D volume is needed; extract one channel, or name it: "
            f"{name}#0 is the first"
        )
    raise VolumeError(
        f"{name}: {found} channel(s), but {channels} are needed; give a 4D file with {channels} channels last, or a "
        f"list of {channels} 3D files"
    )


class _Grid(NamedTuple):
    file: str
    shape: tuple[int, ...]
    affine: np.ndarray
    original_affine: np.ndarray


def _grid(value: Any, spacing: Sequence[float] | None = None) -> _Grid:
    """Grid of a volume, or of its first file if not loaded yet."""
    if isinstance(value, MetaTensor):
        affine = value.affine.cpu().numpy()
        return _Grid(file_name(value), tuple(value.shape[1:]), affine, value.meta.get("original_affine", affine))
    volume = open_volume(value if isinstance(value, str) else ensure_tuple(value)[0], spacing)
    return _Grid(volume.name, volume.shape, volume.affine, volume.affine)


def _put_on_grid(volume: MetaTensor, reference: _Grid) -> None:
    """Check that a volume is on a grid, and let it take its affine, from which it may differ by rounding."""
    file, shape, affine, _ = _grid(volume)
    if shape != reference.shape:
        raise VolumeError(
            f"{file}: shape {shape}, but {reference.file} has {reference.shape}; resample to a common grid"
        )
    distance, voxel = grid_distance(affine, reference.affine, shape), voxel_size(reference.affine).min()
    if not distance <= GRID_TOLERANCE * voxel:
        raise VolumeError(
            f"{file}: its affine differs from that of {reference.file}, by up to {distance:.3g} mm (voxel size "
            f"{voxel:.3g} mm); register and resample to a common grid"
        )
    if distance:
        volume.affine = torch.as_tensor(reference.affine)
        volume.meta["original_affine"] = reference.original_affine
        for form in ("sform", "qform"):  # they are those of the file
            volume.meta.pop(form, None)
