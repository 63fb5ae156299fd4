"""Read a DICOM series that forms a volume; refuse what would silently become a wrong one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk  # noqa: N813

from transeg.errors import VolumeError
from transeg.transforms.grid import LPS_TO_RAS, VolumeFile, reading

GAP_TOLERANCE = 0.1  # of the slice gap: positions are rounded, and a missing slice moves one by half a gap or more
TILT_TOLERANCE = 0.1  # of the smaller pixel size, over the whole series
ORIENTATION, POSITION, PIXEL_SPACING = "0020|0037", "0020|0032", "0028|0030"
MODALITY, DESCRIPTION, THICKNESS = "0008|0060", "0008|103e", "0018|0050"


class _Slice(NamedTuple):
    file: str
    size: tuple[int, int]  # columns, rows
    orientation: np.ndarray  # (2, 3), directions of a row and of a column
    position: np.ndarray  # (3,), of the first pixel, LPS
    spacing: np.ndarray  # (2,), between columns and between rows


def open_series(folder: Path) -> VolumeFile:
    """Read the headers of the series in a folder; stray files that are not DICOM are ignored.

    Voxels are in the units of the rescale tags (HU in CT). Slices are in the order of their positions along the normal
    (column x row direction); the affine comes from the first and last position.

    Raises:
        VolumeError: no series or several; colour or multi-frame images; slices of different size, spacing or
            orientation; no position, two images at one position, uneven gaps, or a tilted gantry.
    """
    with reading(folder, "DICOM"):
        series = [
            sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
        ]
    if not series:
        raise VolumeError(f"{folder}: no DICOM series in this folder; give the folder that holds the images")
    if max(map(len, series)) == 1:  # some exports make each slice a series
        series = [[file for files in series for file in files]]
    if len(series) > 1:
        found = ", ".join(f"{_tags(files[0]).get(DESCRIPTION) or 'unnamed'} ({len(files)} images)" for files in series)
        raise VolumeError(f"{folder}: {len(series)} DICOM series: {found}; give each its own folder")
    slices = [_read_header(file) for file in series[0]]
    _check_alike(slices, folder)
    across = np.cross(*slices[0].orientation)
    slices.sort(key=lambda item: float(across @ item.position))
    step = _step(slices, across, folder)
    columns, rows = slices[0].size
    affine = np.eye(4)
    affine[:3, 0] = slices[0].orientation[0] * slices[0].spacing[0]
    affine[:3, 1] = slices[0].orientation[1] * slices[0].spacing[1]
    affine[:3, 2] = step
    affine[:3, 3] = slices[0].position
    tags = _tags(slices[0].file)
    meta = {"modality": tags.get(MODALITY, "").lower(), "series_description": tags.get(DESCRIPTION, "")}
    files = [item.file for item in slices]
    shape = (columns, rows, len(slices))
    return VolumeFile(str(folder), shape, 1, LPS_TO_RAS @ affine, meta, lambda: _read_voxels(files))


def _reader(file: str) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(file)
    with reading(file, "DICOM"):
        reader.ReadImageInformation()
    return reader


def _tags(file: str) -> dict[str, str]:
    reader = _reader(file)
    # bytes that are not UTF-8 come as lone surrogates
    return {
        key: reader.GetMetaData(key).encode("utf-8", "replace").decode().strip() for key in reader.GetMetaDataKeys()
    }


def _read_header(file: str) -> _Slice:
    reader = _reader(file)
    if reader.GetNumberOfComponents() > 1:
        raise VolumeError(f"{file}: colour images are not supported; choose the original series")
    if np.prod(reader.GetSize()[2:]) > 1:
        raise VolumeError(f"{file}: multi-frame DICOM is not supported; convert it to NIfTI, e.g. with dcm2niix")
    orientation = _numbers(reader, ORIENTATION, 6, "orientation").reshape(2, 3)
    if abs(np.linalg.norm(orientation, axis=1) - 1).max() > 1e-3 or abs(orientation[0] @ orientation[1]) > 1e-3:
        raise VolumeError(f"{file}: impossible image orientation {orientation.ravel().tolist()}; correct it")
    spacing = _numbers(reader, PIXEL_SPACING, 2, "pixel spacing")[::-1]  # the tag begins with the gap between rows
    if not (spacing > 0).all():
        raise VolumeError(f"{file}: pixel spacing {spacing.tolist()}; correct it")
    columns, rows = reader.GetSize()[:2]
    return _Slice(file, (columns, rows), orientation, _numbers(reader, POSITION, 3, "position"), spacing)


def _numbers(reader: sitk.ImageFileReader, tag: str, count: int, what: str) -> np.ndarray:
    text = reader.GetMetaData(tag) if reader.HasMetaDataKey(tag) else ""
    try:
        numbers = np.array([float(part) for part in text.split("\\")])
    except ValueError:
        numbers = np.empty(0)
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise VolumeError(f"{reader.GetFileName()}: no image {what} ({tag}: {text!r}); not a slice of a volume")
    return numbers


def _check_alike(slices: Sequence[_Slice], folder: Path) -> None:
    first = slices[0]
    for item in slices[1:]:
        what = (
            "orientation" if np.abs(item.orientation - first.orientation).max() > 1e-3
            else "size" if item.size != first.size
            else "pixel spacing" if not np.allclose(item.spacing, first.spacing, rtol=1e-3)
            else None
        )  # fmt: skip
        if what:
            raise VolumeError(
                f"{folder}: slices of different {what} ({Path(first.file).name}, {Path(item.file).name}); "
                "leave only those of one volume in the folder"
            )


def _step(slices: Sequence[_Slice], across: np.ndarray, folder: Path) -> np.ndarray:
    """Vector (3,) in mm from one slice to the next."""
    if len(slices) == 1:
        thickness = _tags(slices[0].file).get(THICKNESS, "")
        return across * (float(thickness) if thickness.replace(".", "", 1).isdigit() and float(thickness) else 1.0)
    positions = np.array([item.position for item in slices])
    along = positions @ across
    gap = (along[-1] - along[0]) / (len(slices) - 1)
    names = [Path(item.file).name for item in slices]
    closest = int(np.diff(along).argmin())
    if along[closest + 1] - along[closest] <= 0.01 * gap or gap <= 0:
        raise VolumeError(
            f"{folder}: two images at one position ({names[closest]}, {names[closest + 1]}), such as two echoes or "
            "time points; leave one volume in the folder"
        )
    if np.abs(along - along[0] - gap * np.arange(len(slices))).max() > GAP_TOLERANCE * gap:
        widest = int(np.diff(along).argmax())
        raise VolumeError(
            f"{folder}: uneven slice gaps, {np.diff(along).min():.3g} to {np.diff(along).max():.3g} mm (after "
            f"{names[widest]}); a slice is missing, or it is not one volume"
        )
    sideways = positions - positions[0] - np.outer(along - along[0], across)
    if np.linalg.norm(sideways, axis=1).max() > TILT_TOLERANCE * slices[0].spacing.min():
        raise VolumeError(
            f"{folder}: slices are shifted sideways (tilted gantry); resample the series to a regular grid, e.g. with "
            "dcm2niix"
        )
    return (positions[-1] - positions[0]) / (len(slices) - 1)


def _read_voxels(files: Sequence[str]) -> np.ndarray:
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(list(files))
    reader.SetOutputPixelType(sitk.sitkFloat32)  # rescaled numbers of each slice; integers of the first would cut them
    with reading(Path(files[0]).parent, "DICOM"):
        image = reader.Execute()
    array = sitk.GetArrayViewFromImage(image).reshape(len(files), *image.GetSize()[1::-1])
    return np.ascontiguousarray(array.transpose(2, 1, 0)[None])
