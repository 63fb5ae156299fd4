"""Images that cannot be used, or that show (nearly) nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from transeg.doctor.findings import Finding, View, listed
from transeg.doctor.measure import Measures
from transeg.doctor.scans import DataSet

NEARLY_EMPTY = 0.01  # of the voxels: the drawn body of any field of view is larger
SATURATED = 0.05  # of the foreground: percentiles and windows clip a tenth of that


def check_images(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Find unreadable, constant, nearly empty and saturated images, and channels that are copies."""
    pairs = list(enumerate(zip(data.scans, measured, strict=True)))
    for k, (scan, found) in pairs:
        if found.fault is not None:
            kind, why = found.fault
            text = f"{scan.case}: {why}; replace the file, or leave the case out"
            yield Finding("error", kind, text, (scan.case,))
        elif found.bad.any():
            yield Finding(
                "error",
                "not_finite",
                f"{scan.case}: {int(found.bad.sum())} NaN or infinite voxels in {scan.images[0]}; replace them in the "
                "scan and prepare it again",
                (scan.case,),
                {"voxels": int(found.bad.sum())},
                ((View(k, int(found.bad.argmax())),),),
            )
        if found.source_fault and found.fault is None:
            needed = bool({"test", "validation"} & {*scan.splits()})  # evaluation reads whole scans
            text = f"{scan.case}: its original file cannot be read: {found.source_fault}"
            yield Finding("error" if needed else "warning", "source", text, (scan.case,))
    yield from _sizes(data, measured)
    yield from _constant(data, measured)
    nearly = [k for k, (_, found) in pairs if found.units and not found.flat.all() and found.shown < NEARLY_EMPTY]
    if nearly:
        cases = tuple(data.scans[k].case for k in nearly)
        yield Finding(
            "warning",
            "nearly_empty",
            f"{listed(cases)}: less than {NEARLY_EMPTY:.0%} of the voxels show anything; look at the file, and leave "
            "the case out or crop closer",
            cases,
            {"shown": [round(measured[k].shown, 4) for k in nearly]},
            tuple((View(k),) for k in nearly),
        )
    yield from _copied_channels(data, measured)
    for channel, name in enumerate(data.channels):
        bright = [
            k
            for k, (_, found) in pairs
            if channel < len(found.saturated)
            and found.saturated[channel] > SATURATED
            and not found.flat[:, channel].all()
        ]
        if bright:
            cases = tuple(data.scans[k].case for k in bright)
            shares = [round(float(measured[k].saturated[channel]), 3) for k in bright]
            yield Finding(
                "warning",
                "saturated",
                f"{listed(cases)}: {min(shares):.0%}{f' to {max(shares):.0%}' if len(shares) > 1 else ''} of the body "
                "has "
                f"the highest value of {name}, so contrast is lost; export the scan with its full range, or widen the "
                "window",
                cases,
                {"share": shares},
                tuple((View(k),) for k in bright),
            )


def _sizes(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Prepared images of another number of channels or another size than most."""
    if not data.recipe:
        return
    shapes = [found.shape for found in measured if found.shape]
    usual = max(set(shapes), key=shapes.count, default=())
    odd = [k for k, found in enumerate(measured) if found.shape and found.shape != usual]
    for k in odd:
        case = data.scans[k].case
        yield Finding(
            "error",
            "grid",
            f"{case}: images of shape {measured[k].shape} (channels first), but {usual} in the other cases; prepare it "
            "again by the same recipe",
            (case,),
            views=((View(k),),),
        )
    for k, (scan, found) in enumerate(zip(data.scans, measured, strict=True)):
        beyond = [use.unit for use in scan.uses if found.units and use.unit >= found.units]
        if beyond and scan.is_stack:
            yield Finding(
                "error",
                "truncated",
                f"{scan.case}: the datalist refers to slice {max(beyond)} of a stack of {found.units}; prepare it "
                "again",
                (scan.case,),
                views=((View(k),),),
            )


def _constant(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    for k, (scan, found) in enumerate(zip(data.scans, measured, strict=True)):
        if not found.units:
            continue
        whole = found.flat.all(axis=0)
        used = sorted({use.unit for use in scan.uses if use.unit < found.units})
        empty = [unit for unit in used if found.flat[unit].all()]
        if whole.any():
            which = (
                "the image"
                if whole.all()
                else f"channel {listed([_name(data, int(c)) for c in np.flatnonzero(whole)])}"
            )
            text = f"{scan.case}: {which} is constant; replace the file, or leave the case out"
            yield Finding("error", "constant", text, (scan.case,), views=((View(k),),))
        elif empty and found.units > 1:
            text = (
                f"{scan.case}: {len(empty)} of {len(used)} slices are constant (the first is {empty[0]}), and a "
                "translator would learn to paint into them; prepare again with a minimum of foreground"
            )
            numbers = {"slices": empty}
            yield Finding("warning", "constant", text, (scan.case,), numbers, ((View(k, empty[0]),),))


def _copied_channels(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for k, found in enumerate(measured):
        pairs = [pair for pair in found.copies if not found.flat[:, pair[0]].all()]
        for first in {min(a for a, b in pairs if b == channel) for _, channel in pairs}:
            groups.setdefault((first, *(b for a, b in pairs if a == first)), []).append(k)
    for channels, members in groups.items():
        cases = tuple(data.scans[k].case for k in members)
        yield Finding(
            "warning",
            "copied_channel",
            f"{listed(cases)}: {' and '.join(_name(data, c) for c in channels)} are the same image; a missing sequence "
            "cannot be replaced by another one, so leave the case out or train without that channel",
            cases,
            {"scans": len(measured)},
            tuple(tuple(View(k, channel=c) for c in channels) for k in members),
        )


def _name(data: DataSet, channel: int) -> str:
    return data.channels[channel] if channel < len(data.channels) else str(channel)
