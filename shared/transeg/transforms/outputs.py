"""What inference writes: masks, probabilities and translations on the grid of the input."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
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

from transeg.transforms.intensity import RestoreIntensityd

logger = logging.getLogger(__name__)


def write_nifti(path: PathLike, volume: torch.Tensor, affine: torch.Tensor, dtype: DtypeLike = np.float32) -> None:
    """Write a volume (C, X, Y, Z), several channels as a 4D file with the channels last.

    It gets its name only when it is whole, so a file that is there is complete.
    """
    path = Path(path)
    array = volume.detach().cpu().numpy().astype(dtype)
    image = nib.Nifti1Image(array[0] if len(array) == 1 else np.moveaxis(array, 0, -1), None)
    image.header.set_xyzt_units("mm")
    image.set_sform(np.asarray(affine), code=1)
    image.set_qform(np.asarray(affine), code=1)
    partial = path.with_name(f".partial_{path.name}")
    try:
        nib.save(image, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def case_name(data: Mapping[Any, Any], key: str) -> str:
    """Name of an item: its "case", or that of the file that the volume under `key` came from."""
    source = Path(data[key].meta.get("filename_or_obj", "volume")).name
    return data.get("case", source.removesuffix(".gz").removesuffix(".nii"))


class SaveVolumed(SaveImaged):
    """Save volumes as `<output_dir>/<case>_<postfix>.nii.gz`, with the affine that they carry.

    The case is the item's "case", or the name of the file that the volume came from. A `SaveImaged` by name only
    (MONAI Label leaves those out): MONAI's writer fails on volumes of one slice.

    Args:
        keys: volumes (C, X, Y, Z); several channels are written last, as a 4D file.
        output_dir: folder, made when needed.
        postfix: last part of the file name.
        dtype: voxel type of the file.
    """

    def __init__(self, keys: KeysCollection, output_dir: PathLike, postfix: str, dtype: DtypeLike = np.float32) -> None:
        super().__init__(keys, output_dir=output_dir)
        self.output_dir, self.postfix, self.dtype = Path(output_dir), postfix, dtype

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Write the volumes; the item is returned as it is."""
        self.output_dir.mkdir(parents=True, exist_ok=True)
        for key in self.key_iterator(data):
            path = self.output_dir / f"{case_name(data, key)}_{self.postfix}.nii.gz"
            write_nifti(path, data[key].as_tensor(), data[key].affine, self.dtype)
            logger.info("wrote %s", path)
        return dict(data)


class Translated(MapTransform):
    """Translate preprocessed volumes: item["translation"] (C, X, Y, Z), healthy or of another modality.

    Args:
        keys: the preprocessed image.
        network: has a method `image -> image`.
        inferer: monai inferer, called as `inferer(batch, network.translate, *arguments)`.
        method: name of that method, such as "inpaint" of PathoGAN.
        output_key: where the result goes.
        arguments: further ones of the method, such as the modality that `CardiacNet` translates to.
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

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item with the translation in normalised units."""
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
    """Make the transform that writes a translation on the input's grid and in units of intensity.

    Arguments as for `Translated`, `monai.transforms.Invertd`, `SaveVolumed` and `RestoreIntensityd`: without `limits`
    the units are those of the input. Voxels that the preprocessing masked are then 0.

    Args:
        fill_value: intensity of the voxels that the preprocessing cut off, such as that of air.
        precomputed_key: key under which `Translated` put the translation before, so that it is not made again.
    """
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
