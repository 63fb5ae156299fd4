"""Patients and images that are used twice: in two splits, two domains, or two cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from transeg.doctor.findings import Finding, View, listed
from transeg.doctor.measure import Measures
from transeg.doctor.scans import DataSet

ALIKE = 0.9  # correlation of two thumbnails; of different patients of one protocol it stays below 0.85, see the tests
BLOCK = 256  # scans that are compared with all others at once


def check_copies(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Find patients in two splits or domains, equal and nearly equal images, and slices in both domains."""
    yield from _patients(data)
    yield from _both_domains(data, measured)
    same = _equal(measured)
    yield from _pairs(data, same, "copy", "has the same voxels as")
    alike = {pair: value for pair, value in _alike(measured).items() if pair not in same}
    yield from _pairs(data, alike, "near_copy", "is (nearly) the same image, flipped, turned or rescaled, as")


def _patients(data: DataSet) -> Iterator[Finding]:
    members: dict[str, list[int]] = {}
    for k, scan in enumerate(data.scans):
        members.setdefault(scan.patient, []).append(k)
    for patient, scans in members.items():
        splits = sorted({split for k in scans for split in data.scans[k].splits()})
        if len(splits) > 1:
            cases = tuple(dict.fromkeys(data.scans[k].case for k in scans))
            own = f" ({listed(cases)})" if cases != (patient,) else ""
            yield Finding(
                "error",
                "patient_leak",
                f"patient {patient}{own} is in {' and '.join(splits)}, so scores would be too good; keep each "
                "patient in one split",
                cases,
                {"splits": splits},
                (tuple(View(k) for k in scans[:4]),),
            )
    if len(data.domains) == 2 and data.of_cases:
        domains = {
            patient: {use.domain for k in scans for use in data.scans[k].uses} for patient, scans in members.items()
        }
        shared = sorted(patient for patient, found in domains.items() if len(found) > 1)
        if shared:
            yield Finding(
                "note",
                "shared_patients",
                f"{len(shared)} of {len(domains)} patients are in both {' and '.join(data.domains)} "
                f"({listed(shared)}), "
                "so the domains are not independent; say so with your results",
                tuple(shared),
                {"patients": len(domains)},
            )


def _both_domains(data: DataSet, measured: Sequence[Measures]) -> Iterator[Finding]:
    """Slices, by their voxels, that are in both domains of the same split."""
    places: dict[str, dict[str, tuple[int, int]]] = {}
    clashes: dict[str, list[tuple[tuple[int, int], tuple[int, int]]]] = {}
    for k, (scan, found) in enumerate(zip(data.scans, measured, strict=True)):
        for use in scan.uses:
            digest = found.digests[use.unit] if use.unit < len(found.digests) else ""
            if not digest:
                continue
            known = places.setdefault(digest, {})
            other = next((place for domain, place in known.items() if domain != use.domain), None)
            if other is not None:
                clashes.setdefault(scan.case, []).append((other, (k, use.unit)))
            known.setdefault(use.domain, (k, use.unit))
    for case, pairs in clashes.items():
        (a, _), _ = pairs[0]
        cases = tuple(dict.fromkeys([case, data.scans[a].case]))
        what = (
            f"{len(pairs)} slice{'s' * (len(pairs) > 1)}" if any(found.units > 1 for found in measured) else "the image"
        )
        own = f" (there as {data.scans[a].case})" if data.scans[a].case != case else ""
        yield Finding(
            "error",
            "both_domains",
            f"{case}: {what} of {data.domains[0]} and {data.domains[1]} alike{own}; correct what it shows, and "
            "prepare it again",
            cases,
            {"slices": [unit for _, (_, unit) in pairs]},
            tuple(tuple(View(*place) for place in pair) for pair in pairs[:3]),
        )


def _equal(measured: Sequence[Measures]) -> dict[tuple[int, int], float]:
    """Pairs of scans that share a unit, and the share of the units of the smaller one."""
    owners: dict[str, set[int]] = {}
    for k, found in enumerate(measured):
        for digest in found.digests:
            if digest:
                owners.setdefault(digest, set()).add(k)
    shared: dict[tuple[int, int], int] = {}
    for scans in owners.values():
        for pair in combinations(sorted(scans), 2):
            shared[pair] = shared.get(pair, 0) + 1
    return {pair: count / min(measured[k].units for k in pair) for pair, count in shared.items()}


def _alike(measured: Sequence[Measures]) -> dict[tuple[int, int], float]:
    """Pairs of scans whose thumbnails correlate, in any flip or quarter turn of the plane, slices in either order."""
    known = [k for k, found in enumerate(measured) if found.thumbnail is not None]
    if len(known) < 2:
        return {}
    thumbnails = np.stack([np.asarray(measured[k].thumbnail, np.float32) for k in known])
    flat = thumbnails.reshape(len(known), -1)
    best = np.zeros((len(known), len(known)), np.float32)
    for turns in range(4):
        turned = np.rot90(thumbnails, turns, (1, 2))
        for mirrored in (turned, turned[:, ::-1]):
            for ordered in (mirrored, mirrored[..., ::-1]):
                others = ordered.reshape(len(known), -1).T
                for start in range(0, len(known), BLOCK):
                    block = slice(start, start + BLOCK)
                    best[block] = np.maximum(best[block], flat[block] @ others)
    found = np.argwhere(np.triu(best > ALIKE, 1)).tolist()
    return {(known[a], known[b]): float(best[a, b]) for a, b in found}


def _pairs(data: DataSet, pairs: dict[tuple[int, int], float], kind: str, verb: str) -> Iterator[Finding]:
    """A finding for each pair of cases."""
    for (a, b), value in pairs.items():
        first, second = data.scans[a], data.scans[b]
        if first.patient == second.patient and (
            first.case == second.case or {*first.splits()} == {*second.splits()} == {"training"}
        ):
            continue
        splits = sorted({*first.splits(), *second.splits()})
        leak = len(splits) > 1
        where = f"{first.case} ({', '.join(first.splits())}) {verb} {second.case} ({', '.join(second.splits())})"
        remedy = (
            "so scores would be too good; keep one of them, or give both one patient and split again"
            if leak
            else "so it counts twice; keep one of them"
        )
        yield Finding(
            "error" if leak else "warning",
            kind,
            f"{where}, {remedy}",
            (first.case, second.case),
            {"share" if kind == "copy" else "correlation": round(value, 3), "splits": splits},
            ((View(a), View(b)),),
        )
