"""Outputs of inference: masks, probabilities and translations on the input grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import DtypeLike, KeysCollection, PathLike
from monai.networks.utils import eval_mode
from monai.transforms import (
    Compose,
    CopyItemsd,
    Invertd,
    InvertibleTransform,
    MapTransform,
    SaveImaged,
    ShiftIntensityd,
)

from transeg.files import atomic, case_name
from transeg.transforms.grid import grid_distance, voxel_size
from transeg.transforms.intensity import RestoreIntensityd
from transeg.transforms.preprocessing import scan_slice_axis

logger = logging.getLogger(__name__)


def write_nifti(
    path: PathLike,
    volume: torch.Tensor,
    affine: torch.Tensor,
    dtype: DtypeLike = np.float32,
    postfix: str = "",
    meta: Mapping[str, Any] | None = None,
) -> None:
    """Write a volume (C, X, Y, Z) atomically; several channels become a 4D file, channels last.

    The header's description is "transeg <postfix>", by which results are recognised among scans.

    Args:
        path: the file.
        volume: (C, X, Y, Z).
        affine: (4, 4).
        dtype: voxel type of the file.
        postfix: what the volume is, such as "seg".
        meta: meta data of the scan from `read_volume`; if `affine` is that of the scan, the file takes both its
            affines (sform and qform) with their codes.
    """
    array = volume.detach().cpu().numpy().astype(dtype)
    image = nib.Nifti1Image(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1), None)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"transeg {postfix}".strip().encode()[:80]
    for form, (matrix, code) in _forms(np.asarray(affine), array.shape[1:], meta or {}).items():
        getattr(image, f"set_{form}")(matrix, code=code)
    with atomic(path) as partial:
        nib.save(image, partial)


def _forms(affine: np.ndarray, shape: Sequence[int], meta: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, int]]:
    """Matrix and code of either affine of a header; an unset one (code 0) agrees with the other."""
    names = ("sform", "qform")
    if not all(name in meta for name in (*names, "original_affine")):
        return dict.fromkeys(names, (affine, 1))
    if grid_distance(affine, np.asarray(meta["original_affine"]), shape) > 1e-3 * voxel_size(affine).min():
        return dict.fromkeys(names, (affine, 1))
    codes = {name: int(meta[f"{name}_code"]) for name in names}
    return {name: (np.asarray(meta[name]) if codes[name] else affine, codes[name]) for name in names}


class EmptySlicesd(MapTransform):
    """Empty the slices of masks (1, X, Y, Z) in which no more than a least area is inside.

    Args:
        least: area in mm^2.
        recipe: its "axis" is that of the slices; in a scan stored at another angle, the closest axis of its grid.
        keys: masks on the grid of a scan.
    """

    def __init__(self, least: float, recipe: Mapping[str, Any], keys: KeysCollection = "pred") -> None:
        super().__init__(keys)
        self.least, self.recipe = least, recipe

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the masks."""
        item = dict(data)
        for key in self.key_iterator(item):
            mask = item[key]
            affine = mask.affine.cpu().numpy()
            along = scan_slice_axis(affine, self.recipe)
            across = sorted({0, 1, 2} - {along})
            pixel = float(np.prod(nib.affines.voxel_sizes(affine)[across]))
            areas = pixel * (mask > 0).sum(dim=[0, *(1 + axis for axis in across)], keepdim=True)
            item[key] = mask * (areas.as_tensor() > self.least)
        return item


class SaveVolumed(SaveImaged):
    """Save volumes as `<output_dir>/<case>_<postfix>.nii.gz` with their own affine, see `case_name`, `write_nifti`.

    A subclass of `SaveImaged` only so that MONAI Label skips it; MONAI's writer fails on single-slice volumes.

    Args:
        keys: volumes (C, X, Y, Z); several channels become a 4D file, channels last.
        output_dir: folder, created if needed.
        postfix: end of the file name.
        dtype: voxel type of the file.
    """

    def __init__(self, keys: KeysCollection, output_dir: PathLike, postfix: str, dtype: DtypeLike = np.float32) -> None:
        super().__init__(keys, output_dir=str(output_dir))
        self.output_dir, self.postfix, self.dtype = Path(output_dir), postfix, dtype

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the volumes and return the item unchanged."""
        for key in self.key_iterator(data):
            path = self.output_dir / f"{case_name(data, key)}_{self.postfix}.nii.gz"
            volume = data[key]
            write_nifti(path, volume.as_tensor(), volume.affine, self.dtype, self.postfix, volume.meta)
            logger.info("wrote %s", path)
        return dict(data)


class Translated(MapTransform):
    """Translate preprocessed volumes (C, X, Y, Z) to the healthy domain or to another modality.

    Args:
        keys: preprocessed images.
        network: network with a method `image -> image`.
        inferer: MONAI inferer, called as `inferer(batch, network.translate, *arguments)`.
        method: name of the method.
        output_key: key of the result.
        arguments: further arguments of the method, such as the target modality.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: torch.nn.Module,
        inferer: Callable,
        method: str = "translate",
        output_key: str = "translation",
        arguments: Sequence[Any] = (),
    ) -> None:
        super().__init__(keys)
        self.network, self.inferer, self.method, self.output_key = network, inferer, method, output_key
        self.arguments = tuple(arguments)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the translation in normalised intensities."""
        item = dict(data)
        for key in self.key_iterator(item):
            with eval_mode(self.network):
                method = getattr(self.network, self.method)
                item[self.output_key] = self.inferer(item[key][None], method, *self.arguments)[0]
        return item


def translation_output(
    network: torch.nn.Module,
    inferer: Callable,
    preprocessing: InvertibleTransform,
    output_dir: PathLike,
    method: str = "translate",
    postfix: str = "translation",
    arguments: Sequence[Any] = (),
    limits: tuple[float, float] | None = None,
    fill_value: float = 0.0,
    precomputed_key: str | None = None,
) -> Compose:
    """Compose: translate, restore the input's grid and intensity units, and save.

    Other arguments as for `Translated`, `monai.transforms.Invertd`, `SaveVolumed` and `RestoreIntensityd`. Without
    `limits`, the units are those of the input and voxels masked by the preprocessing become 0.

    Args:
        network: see `Translated`; unused with `precomputed_key`, as are `inferer`, `method` and `arguments`.
        inferer: see `Translated`.
        preprocessing: transform to invert.
        output_dir: see `SaveVolumed`.
        method: see `Translated`.
        postfix: see `SaveVolumed`; also the key of the translation.
        arguments: see `Translated`.
        limits: see `RestoreIntensityd`.
        fill_value: intensity of voxels outside the preprocessing's crop, such as that of air.
        precomputed_key: key of an existing translation.
    """
    translate: list[MapTransform]
    if precomputed_key is None:
        translate = [Translated("image", network, inferer, method, postfix, arguments)]
    else:
        translate = [] if precomputed_key == postfix else [CopyItemsd(precomputed_key, names=postfix)]
    return Compose(
        [
            *translate,
            RestoreIntensityd(postfix, source_key="image", limits=limits),
            ShiftIntensityd(postfix, -fill_value),  # the inverse of a crop pads with 0
            Invertd(postfix, preprocessing, orig_keys="image", nearest_interp=False),
            ShiftIntensityd(postfix, fill_value),
            SaveVolumed(postfix, output_dir, postfix=postfix),
        ]
    )
