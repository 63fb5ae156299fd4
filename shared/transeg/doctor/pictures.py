"""A picture of what a finding is about."""

from __future__ import annotations

from collections.abc import Iterator

import nibabel as nib
import numpy as np
from PIL import Image

from transeg.data.names import shown_channel
from transeg.doctor.findings import Finding, View
from transeg.doctor.measure import load_image, load_label
from transeg.doctor.scans import DataSet, Scan
from transeg.errors import UserError
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, grey, label_overlay, upright, window

SIDE = 192  # pixels of a tile
ROWS = 4


def draw(data: DataSet, finding: Finding) -> RGB | None:
    """Draw the slices of a finding, with their masks; None if it has none, or none can be read.

    Returns:
        uint8 (height, width, 3).
    """
    rows = [row for row in (_row(data, views) for views in finding.views[:ROWS]) if row]
    if not rows:
        return None
    width = max(len(row) for row in rows)
    tiles = [[tile for tile, _ in row] + [None] * (width - len(row)) for row in rows]
    return panel(tiles, [""] * width, ["     ".join(caption for _, caption in row) for row in rows])


def _row(data: DataSet, views: tuple[View, ...]) -> list[tuple[Tile | None, str]]:
    row: list[tuple[Tile | None, str]] = []
    for view in views:
        scan = data.scans[view.scan]
        row += [(Tile(_fit(pixels)), scan.case) for pixels in _pixels(data, scan, view)]
    return row


def _pixels(data: DataSet, scan: Scan, view: View) -> Iterator[RGB]:
    """The slice with its mask over it; nothing of a scan that cannot be read."""
    try:
        image = load_image(scan)
    except UserError:
        return
    channel = shown_channel(data.channels) if view.channel is None else view.channel
    channel = channel if channel < len(image.voxels) else 0
    volume = np.nan_to_num(image.voxels[channel], nan=0.0, posinf=0.0, neginf=0.0)
    label = None
    if scan.label is not None:
        try:
            label = load_label(scan, image)
        except UserError:
            label = None
    if image.affine is not None:
        grid = nib.orientations.io_orientation(image.affine)
        volume = nib.orientations.apply_orientation(volume, grid)
        label = None if label is None else nib.orientations.apply_orientation(label, grid)
        spacing = np.asarray(nib.affines.voxel_sizes(image.affine))[np.argsort(grid[:, 0])]
        axis = int(np.argmax(spacing)) if spacing.max() > 1.5 * np.sort(spacing)[1] else 2
        volume = np.moveaxis(volume, axis, -1)
        label = None if label is None else np.moveaxis(label, axis, -1)
    low, high = window(volume)
    z = _widest(label, volume)
    if image.sliced and view.unit is not None and view.unit < volume.shape[-1]:
        z = view.unit
    ground = grey(upright(volume[..., z]), low, high)
    yield ground if label is None else label_overlay(ground, upright(label[..., z]))


def _widest(label: np.ndarray | None, volume: np.ndarray) -> int:
    """Slice with most of the mask, or else the middle one."""
    if label is None or not (label > 0).any():
        return volume.shape[-1] // 2
    return int((label > 0).sum(axis=(0, 1)).argmax())


def _fit(pixels: RGB) -> RGB:
    """On a square, keeping the shape of the pixels."""
    image = Image.fromarray(pixels)
    factor = SIDE / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(image.resize(size, Image.Resampling.BICUBIC), ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return np.asarray(square)
