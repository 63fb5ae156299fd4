"""What a data set is like: sizes, voxel sizes, intensities, labels. Preparation proposes its settings from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from tqdm import tqdm
from transeg.data.table import Case
from transeg.errors import UserError, VolumeError
from transeg.files import file_name
from transeg.metrics.silhouette import silhouette
from transeg.transforms.checks import fill_outside
from transeg.transforms.preprocessing import foreground
from transeg.transforms.read import read_volume

from data_prep.cases import label_values

LOOKED_AT = 24  # scans whose voxels are read
NOISE = 0.1  # share of the voxels outside the body that differ from a constant background; air has more
AIR_HU = -500.0  # no MR is as dark


class Scan(NamedTuple):
    """What was seen in one scan; arrays are along its axes R, A, S.

    Attributes:
        axes: which of R, A and S each axis of the file is nearest to (3,).
        spacing: voxel size in mm (3,).
        size: of the scan in mm (3,).
        extent: of the foreground in mm (3,).
        zero: whether voxels outside the foreground have one value.
        ct: whether intensities are Hounsfield units.
        window: 0.5 and 99.5 percentiles of the foreground.
    """

    axes: np.ndarray
    spacing: np.ndarray
    size: np.ndarray
    extent: np.ndarray
    zero: bool
    ct: bool
    window: tuple[float, float]


@dataclass
class Fingerprint:
    """Of the scans that were looked at.

    Attributes:
        cases: number of cases.
        labelled: of them, with a label.
        presence: of them, with an image-level label: yes or slices.
        absence: of them, with an image-level label: no.
        scans: those that were looked at.
        values_of: values above 0 of each label, by case.
        failed: reason by case that cannot be read.
        native: whether axes are those of the files; otherwise right, anterior, superior (R, A, S).
    """

    cases: int
    labelled: int
    presence: int
    absence: int
    scans: Sequence[Scan]
    values_of: dict[str, frozenset[int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    native: bool = False

    @property
    def spacing(self) -> np.ndarray:
        """Median voxel size in mm (3,)."""
        return np.median(self._of("spacing"), axis=0)

    @property
    def size(self) -> np.ndarray:
        """Largest size of a scan in mm (3,)."""
        return np.max(self._of("size"), axis=0)

    @property
    def extent(self) -> np.ndarray:
        """Largest size of the foreground in mm (3,)."""
        return np.max(self._of("extent"), axis=0)

    @property
    def zero_background(self) -> bool:
        """Whether voxels outside the foreground have one value."""
        return sum(scan.zero for scan in self.scans) > len(self.scans) / 2

    @property
    def ct(self) -> bool:
        """Whether intensities are Hounsfield units."""
        return sum(scan.ct for scan in self.scans) > len(self.scans) / 2

    @property
    def window(self) -> tuple[float, float]:
        """0.5 and 99.5 percentiles of the foreground, the median over scans."""
        low, high = np.median([scan.window for scan in self.scans], axis=0)
        return float(low), float(high)

    @property
    def mixed(self) -> bool:
        """Whether the slices of some scans lie along another axis than those of others."""
        return len({int(spacing.argmax()) for spacing in self._of("spacing") if _is_thick(spacing)}) > 1

    def _of(self, name: str) -> np.ndarray:
        """An attribute of all scans (N, 3)."""
        values = ((getattr(scan, name), scan.axes) for scan in self.scans)
        return np.array([along[axes] if self.native else along for along, axes in values])

    @property
    def values(self) -> Counter[int]:
        """Number of labels that have each value above 0."""
        return Counter(value for values in self.values_of.values() for value in values)

    @property
    def shown(self) -> frozenset[str]:
        """Cases whose label has a value above 0."""
        return frozenset(name for name, values in self.values_of.items() if values)

    @property
    def slice_axis(self) -> int:
        """Axis (0, 1, 2) of the slices: that of the thickest voxels; the last if they are about isotropic, or mixed."""
        return int(self.spacing.argmax()) if self.anisotropic else 2

    @property
    def anisotropic(self) -> bool:
        """Whether slices are too thick to interpolate between, and all lie along one axis."""
        return _is_thick(self.spacing) and not self.mixed

    @property
    def stacks(self) -> bool:
        """Whether only the files' axes tell the slices: stacks in planes of the organ, such as short-axis views."""
        by_file = replace(self, native=True)
        return self.mixed and by_file.anisotropic and by_file.slice_axis == 2

    def lines(self) -> list[str]:
        """What a user should see."""
        known = f"{self.cases} cases: {self.labelled} with a label"
        if self.presence or self.absence:
            known += f", image-level labels: {self.presence} presence, {self.absence} absence"
        x, y, z = (f"{value:.3g}" for value in self.spacing)
        a, b, c = (f"{value:.0f}" for value in self.extent)
        axes = "axes of the files" if self.native else "right-left, anterior-posterior, inferior-superior"
        lines = [
            known,
            f"voxel size {x} x {y} x {z} mm ({axes}; median)",
            f"foreground up to {a} x {b} x {c} mm, intensities {self.window[0]:.4g} to {self.window[1]:.4g}"
            + (" (CT)" if self.ct else "")
            + (", constant background" if self.zero_background else ""),
        ]
        if self.mixed:
            lines.append(
                "the slices of some scans lie along another axis than those of others: isotropic voxels fit all"
            )
        if self.values:
            lines.append("label values: " + ", ".join(f"{v} (in {n})" for v, n in sorted(self.values.items())))
        return lines + [f"cannot be read: {case}: {why}" for case, why in self.failed.items()]


def examine(cases: Sequence[Case], channels: Sequence[str]) -> Fingerprint:
    """Look at up to `LOOKED_AT` scans, evenly spread, and at all labels.

    Args:
        cases: with references.
        channels: the first one is looked at.

    Raises:
        UserError: no scan can be read.
    """
    chosen = {round(i) for i in np.linspace(0, len(cases) - 1, min(LOOKED_AT, len(cases)))}
    scans: list[Scan] = []
    values_of: dict[str, frozenset[int]] = {}
    failed: dict[str, str] = {}
    for number, case in enumerate(tqdm(cases, desc="looking at the data", unit="case", disable=None)):
        try:
            if number in chosen:
                scans.append(_scan(read_volume(case.item(channels[:1])["image"], case.spacing)))
            if case.label:
                values_of[case.name] = frozenset(label_values(case))
        except Exception as error:  # told below, and again when the case is prepared
            failed[case.name] = str(error)
    if not scans:
        raise UserError("no scan can be read:" + "".join(f"\n  {case}: {why}" for case, why in failed.items()))
    return Fingerprint(
        cases=len(cases),
        labelled=sum(case.label is not None for case in cases),
        presence=sum(bool(case.presence) and not case.label for case in cases),
        absence=sum(case.presence is False and not case.label for case in cases),
        scans=scans,
        values_of=values_of,
        failed=failed,
    )


def _is_thick(spacing: np.ndarray) -> bool:
    return bool(spacing.max() > 2 * np.sort(spacing)[1])


def _scan(scan: MetaTensor) -> Scan:
    name = file_name(scan)
    filled = MetaTensor(torch.from_numpy(fill_outside(scan.numpy(), name)), meta=scan.meta)
    image = Orientation(axcodes="RAS", labels=None)(filled)
    assert isinstance(image, MetaTensor)
    spacing = np.asarray(nib.affines.voxel_sizes(image.affine.numpy()))
    inside = torch.as_tensor(foreground(image))[0].numpy()
    volume = image[0].numpy()
    body = silhouette(volume)
    zero = not body.all() and bool(inside[~body].mean() < NOISE)
    if not zero:
        inside = body
    if not inside.any():
        raise VolumeError(f"{name}: no body found; its voxels are (nearly) all alike")
    voxels = volume[inside]
    low, high = np.percentile(voxels, [0.5, 99.5])
    spans = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return Scan(
        axes=nib.orientations.io_orientation(scan.affine.numpy())[:, 0].astype(int),
        spacing=spacing,
        size=spacing * volume.shape,
        extent=spacing * [span[-1] - span[0] + 1 for span in spans],
        zero=zero,
        ct=bool(np.percentile(volume, 0.5) < AIR_HU),
        window=(low, high),
    )
