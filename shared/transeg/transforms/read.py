"""Read a volume by its reference, in any of the formats of `transeg.references`, into RAS world coordinates."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from nibabel.spatialimages import SpatialImage
from PIL import Image

from transeg.errors import VolumeError
from transeg.references import ITK_READERS, SLICES, files_of, is_dicom, parse, suffix_of
from transeg.transforms.grid import GRID_TOLERANCE, LPS_TO_RAS, VolumeFile, grid_distance, reading, voxel_size

logger = logging.getLogger(__name__)


def read_volume(reference: str | os.PathLike, spacing: Sequence[float] | None = None) -> MetaTensor:
    """Read a volume, or one channel of it.

    NIfTI is read by nibabel: its affine is the sform, or the qform if there is none. NRRD, MHA, MHD and DICOM are read
    by SimpleITK; components, or a fourth axis, are channels. Numbered slices (TIF, PNG) are axial, as radiologists
    display them: columns run to the left of the patient, rows to the back, numbers to the head; RGB is three channels.

    Args:
        reference: see `transeg.references`.
        spacing: voxel size (X, Y, Z) in mm of slices, which do not hold it; default 1, with a warning.

    Returns:
        float32 (C, X, Y, Z) with `affine` and `original_affine` (RAS), `filename_or_obj` (the reference), and for
        NIfTI `sform`, `qform` and their codes, for DICOM `modality` (lower case) and `series_description`.

    Raises:
        VolumeError: missing, truncated or unsupported file; a DICOM folder that does not hold one regular series;
            an unusable affine; no such channel.
    """
    volume = open_volume(reference, spacing)
    with reading(volume.name):
        voxels = torch.from_numpy(volume.voxels())
    return MetaTensor(voxels, affine=torch.as_tensor(volume.affine), meta=dict(volume.meta))


def open_volume(reference: str | os.PathLike, spacing: Sequence[float] | None = None) -> VolumeFile:
    """Read the header of a volume and check it; arguments and errors as for `read_volume`."""
    path, channel = parse(reference)
    files = files_of(reference)
    if not files and not path.is_dir():
        raise VolumeError(f"{path}: no such file; correct the path or exclude the case")
    if path.is_dir():
        from transeg.transforms.dicom import open_series  # SimpleITK loads slowly, and only some formats need it

        volume = open_series(path)
    elif suffix_of(path) in SLICES:
        volume = _open_slices(path, files, spacing)
    elif suffix_of(path) in ITK_READERS:
        volume = _open_itk(path)
    elif is_dicom(path):
        raise VolumeError(f"{path}: a single DICOM file; give the folder that holds all images of its series")
    else:
        volume = _open_nibabel(path)
    _check_affine(volume)
    meta = {"filename_or_obj": os.fspath(reference), "original_affine": volume.affine, "space": "RAS"}
    volume = volume._replace(name=os.fspath(reference), meta=meta | volume.meta)
    return volume if channel is None else _one_channel(volume, channel)


def spatial_shape(shape: Sequence[int], name: object) -> tuple[tuple[int, int, int], int]:
    """Shape (X, Y, Z) and number of channels of an array (X, Y, Z) or (X, Y, Z, C), with any axes of length 1 besides.

    Raises:
        VolumeError: fewer or more axes.
    """
    further = [size for size in shape[3:] if size != 1]
    if len(shape) < 3 or len(further) > 1:
        size = len(shape) if len(shape) < 3 else 3 + len(further)
        raise VolumeError(f"{name}: {size}D image {tuple(shape)}, but a 3D volume is needed; convert it to a 3D file")
    x, y, z = shape[:3]
    if not all(shape):
        raise VolumeError(f"{name}: no voxels (shape {tuple(shape)}); copy it again")
    return (x, y, z), (further or [1])[0]


def _open_nibabel(path: Path) -> VolumeFile:
    with reading(path, "NIfTI"):
        image = nib.load(path)
        if not isinstance(image, SpatialImage):
            raise TypeError(f"{type(image).__name__} is no image")
    kind = image.get_data_dtype()
    if kind.names is not None or kind.kind == "c":
        what = "complex" if kind.kind == "c" else "colour (RGB)"
        raise VolumeError(f"{path}: {what} voxels are not supported; convert to a scalar image")
    shape, channels = spatial_shape(image.shape, path)
    meta = _nifti_forms(image, path) if isinstance(image, nib.Nifti1Image) else {}

    def voxels() -> np.ndarray:
        with reading(path, "NIfTI"):
            array = np.asanyarray(image.dataobj).reshape(*shape, channels, order="F")
        return _in_order(np.moveaxis(array, 3, 0))

    return VolumeFile(str(path), shape, channels, np.asarray(image.affine, dtype=float), meta, voxels)


def _in_order(voxels: np.ndarray) -> np.ndarray:
    """Voxels (C, X, Y, Z), X fastest as in files, to float32 in C order, by planes, since these fit into the cache."""
    ordered = np.empty(voxels.shape, np.float32)
    for y in range(voxels.shape[2]):
        ordered[:, :, y] = voxels[:, :, y]
    return ordered


def _nifti_forms(image: nib.Nifti1Image, path: Path) -> dict[str, Any]:
    """Both affines of the header with their codes, for outputs on the same grid; warns if they contradict each other.

    Raises:
        VolumeError: neither is set, no voxel size, or another unit than mm.
    """
    with image.file_map["image"].get_prepare_fileobj("rb") as file:  # nibabel repairs the header that it returns
        sizes = type(image.header).from_fileobj(file, check=False)["pixdim"][1:4]
    if not np.isfinite(sizes).all() or not sizes.all():
        shown = ", ".join(f"{size:g}" for size in sizes)
        raise VolumeError(f"{path}: voxel size (pixdim) is {shown}; correct the header")
    unit = image.header.get_xyzt_units()[0]
    if unit not in ("mm", "unknown"):
        raise VolumeError(f"{path}: its unit is {unit}; convert the header to mm")
    codes = {f"{form}_code": int(image.header[f"{form}_code"]) for form in ("sform", "qform")}
    if not any(codes.values()):
        raise VolumeError(f"{path}: no orientation (qform and sform codes are 0); set the affine")
    forms = {"sform": image.header.get_sform()}
    with reading(path, "NIfTI"):  # an impossible quaternion
        forms["qform"] = image.header.get_qform()
    if all(codes.values()) and np.isfinite(forms["sform"]).all():
        distance = grid_distance(forms["sform"], forms["qform"], image.shape[:3])
        if distance > GRID_TOLERANCE * voxel_size(forms["sform"]).min():
            logger.warning("%s: sform and qform differ by %.3g mm; the sform is used", path, distance)
    return forms | codes


def _open_itk(path: Path) -> VolumeFile:
    # SimpleITK rather than itk: it reads the same formats as exactly, is required anyway, and itk takes 1.5 GB of disk
    import SimpleITK as sitk  # noqa: N813

    kind = suffix_of(path)[1:].upper()
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO(ITK_READERS[suffix_of(path)])
    with reading(path, kind):
        reader.ReadImageInformation()
    size, components = reader.GetSize(), reader.GetNumberOfComponents()
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        raise VolumeError(f"{path}: complex voxels are not supported; convert to a scalar image")
    shape, channels = spatial_shape(size if components == 1 else (*size, components), path)
    direction = np.reshape(reader.GetDirection(), (len(size), len(size)))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * reader.GetSpacing()[:3]
    affine[:3, 3] = reader.GetOrigin()[:3]

    def voxels() -> np.ndarray:
        reader.SetOutputPixelType(sitk.sitkFloat32 if components == 1 else sitk.sitkVectorFloat32)
        with reading(path, kind):
            image = reader.Execute()
        array = sitk.GetArrayViewFromImage(image)  # axes reversed, components last
        if components == 1:
            return _in_order(array.reshape(channels, *shape[::-1]).transpose(0, 3, 2, 1))
        return _in_order(array.reshape(*shape[::-1], channels).transpose(3, 2, 1, 0))

    return VolumeFile(str(path), shape, channels, LPS_TO_RAS @ affine, {}, voxels)


def _open_slices(path: Path, files: Sequence[Path], spacing: Sequence[float] | None) -> VolumeFile:
    forms = []
    for file in files:
        with reading(file, "TIF or PNG"), Image.open(file) as image:
            forms.append((image.size, image.mode, getattr(image, "n_frames", 1)))
    for file, form in zip(files, forms, strict=True):
        if form != forms[0] or (len(files) > 1 and form[2] > 1):
            raise VolumeError(
                f"{file}: {_described(form)}, but {files[0].name} is {_described(forms[0])}; "
                "a volume needs slices of one size and kind, one in each file"
            )
    _check_numbers(path, files)
    (width, height), mode, pages = forms[0]
    if mode not in ("1", "L", "RGB", "F", "I") and not mode.startswith("I;16"):
        raise VolumeError(f"{files[0]}: pixels of kind {mode}; convert the slices to greyscale or RGB")
    channels = 3 if mode == "RGB" else 1
    if spacing is None:
        _warn_of_spacing(path)
        spacing = (1.0, 1.0, 1.0)
    affine = LPS_TO_RAS @ np.diag([*spacing, 1.0])

    def voxels() -> np.ndarray:
        array = np.empty((channels, width, height, max(len(files), pages)), np.float32)
        for number, file in enumerate(files):
            with reading(file, "TIF or PNG"), Image.open(file) as image:
                for page in range(pages):
                    image.seek(page)
                    array[..., number + page] = np.asarray(image).reshape(height, width, channels).transpose(2, 1, 0)
        return array

    return VolumeFile(str(path), (width, height, max(len(files), pages)), channels, affine, {}, voxels)


@lru_cache(maxsize=4096)  # once, not for each channel
def _warn_of_spacing(path: Path) -> None:
    logger.warning(
        "%s: no voxel size in slices; 1 mm assumed, so sizes and volumes are wrong: list the scans in a table with the "
        "column spacing (data_prep.table)", path,
    )  # fmt: skip


def _check_numbers(path: Path, files: Sequence[Path]) -> None:
    before, _, after = path.name.partition("*")
    numbers = [int(file.name[len(before) : len(file.name) - len(after)]) for file in files if len(files) > 1]
    steps = np.diff(numbers)
    if len(set(steps.tolist())) > 1:
        gap = int(steps.argmax())
        raise VolumeError(
            f"{path}: slices are missing between {files[gap].name} and {files[gap + 1].name}; restore them, or number "
            "the slices evenly"
        )


def _described(form: tuple[tuple[int, int], str, int]) -> str:
    (width, height), mode, pages = form
    return f"{width} x {height} pixels of kind {mode}" + (f" on {pages} pages" if pages > 1 else "")


def _check_affine(volume: VolumeFile) -> None:
    axes = volume.affine[:3, :3]
    # relative to the voxel size, which is of micrometres in microscopy
    if not np.isfinite(volume.affine).all() or abs(np.linalg.det(axes)) <= 1e-6 * voxel_size(volume.affine).prod():
        raise VolumeError(f"{volume.name}: singular or non-finite affine; correct it")


def _one_channel(volume: VolumeFile, channel: int) -> VolumeFile:
    if channel >= volume.channels:
        raise VolumeError(f"{volume.name}: no channel {channel}; it has {volume.channels}, counted from 0")
    return volume._replace(channels=1, voxels=lambda: volume.voxels()[channel : channel + 1].copy())
