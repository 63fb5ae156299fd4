"""Differences between the two domains that a translator would learn along with the one that is meant.

A difference counts if it is large (the limits below) and hardly by chance (`CHANCE`, Mann-Whitney over the training
cases of either domain, one value each, so that few cases never raise an alarm). Where slices of both domains come from
the same patients, patients with the disease are compared with those without, by lesion-free slices of both, so that
the disease does not pass for a difference of the scans.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import fisher_exact, mannwhitneyu

from transeg.doctor.findings import Finding, Level, View, listed
from transeg.doctor.measure import QUANTILES, Measures
from transeg.doctor.scans import DataSet

CHANCE = 0.01  # p of a difference: of some ten comparisons, one in ten data sets without any would show one by it alone
SPACING = 1.5  # ratio: sharpness that resampling to a common grid does not restore
VIEW = 1.25  # ratio of the extent of the body: a quarter more or less is another field of view, not another build
SLICES = 1.5  # ratio of the number of slices
SHIFT = 0.2  # of intensities from -1 to 1: a tenth of the range
SHIFTED = 3  # of the five quantiles; a lesion or fat moves those of its own tissue
TEXTURE = 1.5  # ratio of the differences between neighbours: noise or sharpness
CLASSES = 2.0  # ratio of a structure's share of the image
PREVALENCE = 0.1  # difference of shares: enough to make a translator hallucinate
FEWEST = 3  # cases from other folders: below, that two cases lie apart says nothing


class Sides(NamedTuple):
    """Values of the two domains, one for each training case."""

    first: np.ndarray
    second: np.ndarray

    def p(self) -> float:
        """Two-sided p of a rank test; 1 without cases."""
        if not len(self.first) or not len(self.second):
            return 1.0
        return float(mannwhitneyu(self.first, self.second).pvalue)

    def medians(self) -> tuple[float, float]:
        """Of either side."""
        return float(np.median(self.first)), float(np.median(self.second))

    def ratio(self) -> float:
        """Of the larger median to the smaller one; 1 without cases."""
        if not len(self.first) or not len(self.second):
            return 1.0
        low, high = sorted(self.medians())
        return high / low if low > 0 else float("inf") if high > 0 else 1.0

    def numbers(self) -> dict[str, object]:
        """For the record."""
        return {
            "medians": [round(value, 4) for value in self.medians()],
            "cases": [len(self.first), len(self.second)],
            "p": float(f"{self.p():.2g}"),
        }


def check_gaps(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Compare the training cases of the two domains; nothing without two."""
    if len(data.domains) != 2:
        return
    members = [
        [k for k, scan in enumerate(data.scans) if measured[k].units and scan.units(domain)] for domain in data.domains
    ]
    if not data.of_cases:
        yield from _folders(data, members)
        members[1] = [k for k in members[1] if k not in members[0]]
    compare = _Comparison(data, measured, members)
    yield from compare.prevalence()
    yield from compare.spacing()
    yield from compare.view()
    if not data.contrasts:
        yield from compare.intensity()
        yield from compare.texture()
    yield from compare.classes()


class _Comparison:
    """Of the two domains of a data set.

    Args:
        data: the data set.
        measured: of each scan.
        members: training scans of either domain, by number.
    """

    def __init__(self, data: DataSet, measured: Sequence[Measures], members: Sequence[Sequence[int]]) -> None:
        self.data, self.measured, self.members = data, measured, members
        self.names = data.domains if data.of_cases else ("patients with the disease", "patients without")
        self.views = tuple(tuple(View(k, self._units(k, d)[0]) for k in members[d][:4]) for d in (0, 1))

    def _units(self, scan: int, domain: int) -> list[int]:
        """Slices of a scan to compare."""
        known, names = self.measured[scan].units, self.data.domains
        tried = (names[domain],) if self.data.of_cases else names[::-1]
        found = [self.data.scans[scan].units(name) for name in tried]
        return [unit for unit in next(filter(None, found)) if unit < known] or [0]

    def sides(self, value: Callable[[Measures, list[int]], float | None]) -> Sides:
        """A value of each case from its slices of the domain; cases without one are left out."""
        found = []
        for domain, scans in enumerate(self.members):
            values = [value(self.measured[k], self._units(k, domain)) for k in scans]
            found.append(np.array([x for x in values if x is not None and np.isfinite(x)]))
        return Sides(*found)

    def finding(self, kind: str, what: str, sides: Sides, unit: str, remedy: str, level: Level = "warning") -> Finding:
        """What is told of a difference."""
        (a, b), (first, second) = sides.medians(), self.names
        numbers = sides.numbers()
        return Finding(
            level,
            kind,
            f"{what} differs: {a:.3g}{unit} in {first} and {b:.3g}{unit} in {second} (medians of {len(sides.first)} "
            f"and {len(sides.second)} training cases, p {numbers['p']}); {remedy}",
            numbers={"domains": [first, second], **numbers},
            views=self.views,
        )

    def prevalence(self) -> Iterator[Finding]:
        """Shares of cases with the lesion, by what a table or the masks say."""
        if self.data.recipe or not self.data.of_cases:
            return  # prepared slices are checked one by one with their mask
        shares = []
        for scans in self.members:
            known = [self.data.scans[k].presence for k in scans if self.data.scans[k].presence is not None]
            shares.append((sum(bool(presence) for presence in known), len(known)))
        (a, n), (b, m) = shares
        stated = bool({scan.presence for scan in self.data.scans} - {None}) and all(
            use.domain not in ("presence", "absence") for scan in self.data.scans for use in scan.uses
        )
        if not (stated and n and m):
            return
        p = float(fisher_exact([[a, n - a], [b, m - b]]).pvalue)
        if abs(a / n - b / m) >= PREVALENCE and p < CHANCE:
            first, second = self.names
            yield Finding(
                "warning",
                "gap_prevalence",
                f"{a} of {n} cases of {first} show the disease, but {b} of {m} of {second} (p {p:.2g}), so a "
                "translator would invent or erase it; draw cases so that the shares agree",
                numbers={"shares": [[a, n], [b, m]], "p": p},
                views=self.views,
            )

    def spacing(self) -> Iterator[Finding]:
        """Voxel size, number of slices and orientation of the original files."""
        plane = self.sides(lambda found, _: found.grid and sorted(found.grid.spacing)[1])
        if plane.ratio() > SPACING and plane.p() < CHANCE:
            remedy = "prepare both at the coarser one (--pixdim), or the translation sharpens or blurs"
            yield self.finding("gap_spacing", "voxel size in the plane", plane, " mm", remedy)
        thick = self.sides(lambda found, _: found.grid and max(found.grid.spacing))
        if thick.ratio() > SPACING and thick.p() < CHANCE and thick.medians() != plane.medians():
            remedy = "prefer slices to volumes, or resample both to the thicker one"
            yield self.finding("gap_spacing", "slice thickness", thick, " mm", remedy)
        count = self.sides(lambda found, _: found.grid and found.grid.shape[int(np.argmax(found.grid.spacing))])
        if count.ratio() > SLICES and count.p() < CHANCE:
            remedy = "check that both cover the same part of the body"
            yield self.finding("gap_slices", "number of slices", count, "", remedy, "note")
        grids = [[grid for k in scans if (grid := self.measured[k].grid)] for scans in self.members]
        along = [{_slice_axis(grid.codes, grid.spacing) for grid in found} - {""} for found in grids]
        if all(along) and not along[0] & along[1] and min(map(len, grids)) >= FEWEST:
            shown = [listed(sorted(names)) for names in along]
            first, second = self.names
            yield Finding(
                "warning",
                "gap_orientation",
                f"the slices of {first} are {shown[0]}, those of {second} {shown[1]} ({len(grids[0])} and "
                f"{len(grids[1])} "
                "training cases); slices along another axis are blurred in another direction, so prepare isotropic "
                "voxels "
                "or choose scans of one orientation",
                numbers={"axes": [sorted(names) for names in along], "cases": [*map(len, grids)]},
                views=self.views,
            )

    def view(self) -> Iterator[Finding]:
        """Extent of the body along each axis of the image."""
        prepared = bool(self.data.recipe)
        dimensions = {self.measured[k].extent.shape[1] for scans in self.members for k in scans}
        found: dict[str, Sides] = {}
        for axis in range(min(dimensions, default=0)):

            def extent(found: Measures, units: list[int], axis: int = axis) -> float | None:
                share = float(found.extent[units, axis].max())
                if prepared:
                    return 100 * share
                return share * found.grid.spacing[axis] * found.grid.shape[axis] if found.grid else None

            sides = self.sides(extent)
            if sides.ratio() > VIEW and sides.p() < CHANCE:
                found["XYZ"[axis]] = sides
        if found:
            widest = max(found.values(), key=lambda sides: sides.ratio())
            unit = " % of the image" if prepared else " mm"
            remedy = "crop both alike, or the translation changes sizes"
            yield self.finding("gap_view", f"extent of the body along {' and '.join(found)}", widest, unit, remedy)

    def intensity(self) -> Iterator[Finding]:
        """Quantiles of the foreground, which normalisation should have made alike."""
        for channel, name in enumerate(self.data.channels):
            sides = [
                self.sides(lambda found, units, c=channel, q=q: _median(found.quantiles[units], c, q))  # type: ignore[misc]
                for q in range(len(QUANTILES))
            ]
            shifted = [
                side for side in sides if side.p() < CHANCE and abs(side.medians()[0] - side.medians()[1]) > SHIFT
            ]
            if len(shifted) >= SHIFTED:
                middle = shifted[len(shifted) // 2]
                what = f"intensity of {name} ({len(shifted)} of {len(QUANTILES)} quantiles shift)"
                remedy = "check for another sequence, coil or export, and normalise both alike"
                yield self.finding("gap_intensity", what, middle, "", remedy)

    def texture(self) -> Iterator[Finding]:
        """Noise and sharpness."""
        for channel, name in enumerate(self.data.channels):
            sides = self.sides(
                lambda found, units, c=channel: (
                    float(np.nanmedian(found.texture[units, c]))  # type: ignore[misc]
                    if c < found.texture.shape[1] and np.isfinite(found.texture[units, c]).any()
                    else None
                )
            )
            if sides.ratio() > TEXTURE and sides.p() < CHANCE:
                remedy = (
                    "a translator would add or remove it; smooth the noisier or sharper domain, or rescan the source"
                )
                yield self.finding("gap_texture", f"noise or sharpness of {name}", sides, "", remedy)

    def classes(self) -> Iterator[Finding]:
        """Shares of each structure, where both domains have masks of it."""
        if not self.data.of_cases or not self.data.labels:
            return
        for value, name in enumerate(self.data.labels[1:], 1):
            sides = self.sides(
                lambda found, units, v=value: (
                    float(100 * found.values[v][units].sum() / (len(units) * np.prod(found.shape[1:])))  # type: ignore[misc]
                    if v in found.values
                    else None
                )
            )
            if sides.ratio() > CLASSES and sides.p() < CHANCE:
                remedy = "a translator would change its size; balance the cases, or crop both alike"
                yield self.finding("gap_classes", f"size of {name}", sides, " % of the image", remedy)


def _folders(data: DataSet, members: Sequence[Sequence[int]]) -> Iterator[Finding]:
    """Slices of either domain from other patients, perhaps of other folders, such as of different hospitals."""
    first, second = ({*scans} for scans in members)
    if first & second or min(len(first), len(second)) < FEWEST:
        return
    parents = [
        {os.path.dirname(os.path.dirname(source)) for k in scans if (source := data.scans[k].source)}
        for scans in (first, second)
    ]
    apart = all(parents) and not parents[0] & parents[1]
    a, b = data.domains
    yield Finding(
        "warning" if apart else "note",
        "gap_source",
        f"no patient contributes slices to both {a} ({len(first)} cases) and {b} ({len(second)})"
        f"{', and their files lie in different folders' if apart else ''}, so a difference between scanners would pass "
        "for "
        "the disease; add lesion-free slices of the patients",
        numbers={"cases": [len(first), len(second)]},
        views=tuple(tuple(View(k) for k in sorted(scans)[:4]) for scans in (first, second)),
    )


def _median(quantiles: np.ndarray, channel: int, rank: int) -> float | None:
    values = quantiles[:, channel, rank] if channel < quantiles.shape[1] else np.array([np.nan])
    return float(np.nanmedian(values)) if np.isfinite(values).any() else None


def _slice_axis(codes: str, spacing: Sequence[float]) -> str:
    """Name of the orientation of slices; empty of nearly isotropic voxels."""
    thickest = int(np.argmax(spacing))
    if spacing[thickest] <= SPACING * sorted(spacing)[1]:
        return ""
    return {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal"}.get(codes[thickest], "axial")
