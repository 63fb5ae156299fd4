"""Masks and image-level labels that contradict one another, the recipe or the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from transeg.doctor.findings import Finding, View, listed
from transeg.doctor.measure import Measures
from transeg.doctor.scans import DataSet, Scan

OUTSIDE = 0.5  # of a mask in the background: more than any doubt about the outline of the body
SPECKS = 3.0  # in each slice: noise or a faulty resampling; nobody draws so
FEW_MASKS = 5  # fewer do not tell how well masks of this data set follow the image
AGREE = 0.9  # of the other masks fit better as they are: only then does a flip show at all
BETTER = 1.1  # times the contrast of the mask as it is
DEVIATIONS = 4.0  # robust standard deviations from the other masks


def check_labels(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Find masks with wrong values, grids or places, empty ones, and slices whose domain contradicts their mask."""
    for k, (scan, found) in enumerate(zip(data.scans, measured, strict=True)):
        view = ((View(k),),)
        if found.label_fault is not None:
            kind, why = found.label_fault
            text = f"{scan.case}: the mask cannot be used, {why}; resample it to the image, or replace it"
            yield Finding("error", f"label_{kind}", text, (scan.case,))
            continue
        yield from _values(data, scan, found, view)
        if found.outside > OUTSIDE and not (found.units and found.flat.all()):  # a constant image is told as such
            text = (
                f"{scan.case}: {found.outside:.0%} of the mask lies outside the body; check whether it is shifted, "
                "flipped or of another scan"
            )
            numbers = {"outside": round(found.outside, 3)}
            yield Finding("error", "mask_outside", text, (scan.case,), numbers, view)
        if found.specks > SPECKS:
            text = (
                f"{scan.case}: the mask has {found.specks:.1f} single voxels in each slice; clean it, or look at how "
                "it "
                "was resampled"
            )
            numbers = {"specks": round(found.specks, 2)}
            yield Finding("warning", "fragments", text, (scan.case,), numbers, view)
        yield from _presence(data, k, scan, found)
    yield from _flipped(data, measured)
    yield from _classes(data, measured)


def _values(data: DataSet, scan: Scan, found: Measures, view: tuple[tuple[View, ...], ...]) -> Iterator[Finding]:
    if found.broken is not None:
        text = (
            f"{scan.case}: the mask has values such as {found.broken:g}, which are no classes; save it as whole numbers"
        )
        yield Finding("error", "label_values", text, (scan.case,), {"value": found.broken}, view)
    strange = sorted(value for value in found.values if data.labels and value >= len(data.labels))
    if strange:
        text = (
            f"{scan.case}: the mask has the value{'s' * (len(strange) > 1)} {listed([*map(str, strange)])}, but the "
            "recipe "
            f"has {len(data.labels)} classes ({listed(data.labels)}); prepare it again, naming the values with --labels"
        )
        yield Finding("error", "label_values", text, (scan.case,), {"values": strange}, view)


def _presence(data: DataSet, k: int, scan: Scan, found: Measures) -> Iterator[Finding]:
    """Contradictions between a mask and what the lists, or the table, say of it."""
    if scan.label is None or found.broken is not None or not found.units:
        return
    filled = np.sum([*found.values.values()], axis=0) > 0 if found.values else np.zeros(found.units, bool)
    present = [use.unit for use in scan.uses if use.labelled and use.unit < len(filled)]
    absent: list[int] = []
    if not data.recipe:
        present, absent = ([], [0]) if scan.presence is False else ([0], [])
    elif data.of_cases:
        present = [] if filled[present].any() else present  # it need not show in each slice of the case
    elif not data.of_cases:
        absent = sorted({use.unit for use in scan.uses if use.domain == data.domains[1] and use.unit < len(filled)})
        present = [use.unit for use in scan.uses if use.domain == data.domains[0] and use.unit < len(filled)]
    wrong = [unit for unit in absent if filled[unit]]
    if wrong:
        what = (
            f"{len(wrong)} of {len(absent)} slices listed as {data.domains[-1]} show"
            if data.recipe
            else ("presence is no, but the mask shows")
        )
        yield Finding(
            "error",
            "lesion_in_absence",
            f"{scan.case}: {what} the lesion, which a translator would learn to paint; correct the mask or what is "
            "said "
            "of it, and prepare the case again",
            (scan.case,),
            {"slices": wrong, "of": len(absent)},
            (tuple(View(k, unit) for unit in wrong[:4]),),
        )
    empty = sorted({unit for unit in present if not filled[unit]})
    if empty:
        said = "presence says the lesion shows" if scan.presence else "it counts as labelled"
        what = (
            "the mask is empty" if not filled.any() else f"the mask of {len(empty)} of {len(present)} slices is empty"
        )
        yield Finding(
            "error" if scan.presence or not filled.any() else "warning",
            "empty_mask",
            f"{scan.case}: {what}, but {said}; correct the mask, or take the case as one without",
            (scan.case,),
            {"slices": empty},
            (tuple(View(k, unit) for unit in empty[:4]),),
        )


def _flipped(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Masks that follow the edges of the image better when flipped, where the others do not."""
    known = [k for k, found in enumerate(measured) if found.contrast.get("", 0) > 0]
    if len(known) < FEW_MASKS:
        return
    for axis, name in (("X", "left and right, or the first axis"), ("Y", "front and back, or the second axis")):
        gains = np.array([np.log(max(measured[k].contrast[axis], 1e-3) / measured[k].contrast[""]) for k in known])
        for n, k in enumerate(known):
            others = np.delete(gains, n)
            spread = 1.4826 * float(np.median(np.abs(others - np.median(others))))
            agree = float((others < 0).mean())
            if agree >= AGREE and gains[n] > np.log(BETTER) and gains[n] > np.median(others) + DEVIATIONS * spread:
                case = data.scans[k].case
                yield Finding(
                    "warning",
                    "flipped_mask",
                    f"{case}: its mask fits the image {np.exp(gains[n]):.1f} times better with {name} exchanged, "
                    "unlike "
                    f"{agree:.0%} of the other {len(others)} masks; check its orientation",
                    (case,),
                    {"gain": round(float(np.exp(gains[n])), 2), "masks": len(known)},
                    ((View(k),),),
                )


def _classes(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Classes that no training mask shows, and how large all of them are."""
    training = [
        (scan, found)
        for scan, found in zip(data.scans, measured, strict=True)
        if found.values and any(use.split == "training" and (use.labelled or not data.recipe) for use in scan.uses)
    ]
    if not training:
        return
    values = (
        range(1, len(data.labels))
        if data.labels
        else sorted({value for _, found in training for value in found.values})
    )
    sizes = {}
    for value in values:
        name = data.labels[value] if data.labels else str(value)
        shown = [found for _, found in training if value in found.values]
        if not shown:
            yield Finding(
                "error",
                "class_missing",
                f"{name} occurs in none of the {len(training)} training masks, so it cannot be learned; add cases that "
                "show it, or prepare without it",
                numbers={"masks": len(training), "class": name},
            )
            continue
        areas = [found.values[value][found.values[value] > 0].mean() for found in shown]
        shares = [float(area / np.prod(found.shape[1:])) for area, found in zip(areas, shown, strict=True)]
        sizes[name] = {"median": round(float(np.median(shares)), 5), "cases": len(shown)}
    if len(data.domains) == 2 and data.of_cases and data.recipe:
        for domain in data.domains:
            own = [found for scan, found in training if scan.units(domain)]
            for value in values:
                if (
                    own
                    and not any(value in found.values for found in own)
                    and any(value in f.values for _, f in training)
                ):
                    name = data.labels[value]
                    yield Finding(
                        "warning",
                        "class_missing",
                        f"{name} occurs in none of the {len(own)} training masks of {domain}, but in those of the "
                        "other "
                        "domain; a translator may invent or erase it",
                        numbers={"masks": len(own), "class": name, "domain": domain},
                    )
    if sizes:
        parts = [f"{name} {size['median']:.2%} ({size['cases']} cases)" for name, size in sizes.items()]
        text = f"share of the images that show it (median): {', '.join(parts)}"
        yield Finding("note", "class_sizes", text, numbers=sizes)
