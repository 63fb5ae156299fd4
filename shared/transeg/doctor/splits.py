"""Whether the splits can train, choose and measure, and what the preparation left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from transeg.doctor.findings import Finding, listed
from transeg.doctor.scans import DataSet

TO_CHOOSE = 3  # validation patients: of fewer, one outlier chooses the weights
TO_MEASURE = 5  # test patients: the mean Dice of fewer has an interval as wide as most differences between methods
TO_TRAIN = 3  # training patients of a domain: a translator learns fewer by heart
IMBALANCE = 10.0  # ratio of the slices of the domains: the smaller one is seen that often
MOST = 0.5  # of all slices dropped by one rule


def check_splits(data: DataSet) -> Iterator[Finding]:
    """Count patients, labels and slices of each split."""
    yield from _left_out(data)
    if not data.split:
        return
    known = [scan for scan in data.scans if not scan.problem]
    patients = {
        split: {scan.patient for scan in known if split in scan.splits()}
        for split in ("training", "validation", "test")
    }
    labelled = {
        split: {s.patient for s in known if s.label and any(use.split == split and use.labelled for use in s.uses)}
        for split in patients
    }
    yield from _few(data, patients, labelled)
    counts = [
        sum(use.split == "training" and use.domain == domain for s in known for use in s.uses)
        for domain in data.domains
    ]
    what = "cases" if data.of_cases and not (data.recipe and any(len(scan.uses) > 1 for scan in known)) else "slices"
    if len(counts) == 2 and min(counts) and max(counts) / min(counts) > IMBALANCE:
        yield Finding(
            "warning",
            "imbalance",
            f"{counts[0]} training {what} of {data.domains[0]}, but {counts[1]} of {data.domains[1]}: the few are seen "
            "over "
            "and over; add to them, or leave some of the many out",
            numbers=dict(zip(data.domains, counts, strict=True)),
        )
    for domain in data.domains:
        few = sorted({scan.patient for scan in known if scan.units(domain)})
        if 0 < len(few) < TO_TRAIN:
            yield Finding(
                "warning",
                "few_training",
                f"{domain} has {len(few)} training patient{'s' * (len(few) > 1)} ({listed(few)}), whom a translator "
                "would "
                f"learn by heart; add some, {TO_TRAIN} at the very least",
                tuple(few),
                {"patients": len(few)},
            )
    if 0 in counts:
        empty = data.domains[counts.index(0)]
        text = (
            f"no training {what} of {empty}, so there is nothing to translate; add some or lower the preparation's "
            "minima"
        )
        yield Finding("error", "empty_domain", text, numbers=dict(zip(data.domains, counts, strict=True)))
    groups = {split: {s.group for s in known if s.group and split in s.splits()} for split in patients}
    missing = sorted(groups["test"] - groups["training"])
    if missing:
        text = f"group {listed(missing)} is tested on, but not trained on; split again, stratified by group"
        yield Finding("note", "group_missing", text, numbers={"groups": missing})


def _few(data: DataSet, patients: dict[str, set[str]], labelled: dict[str, set[str]]) -> Iterator[Finding]:
    chooses = bool(labelled["training"]) and not (data.method and "validation" in data.method.optional)
    if chooses and not labelled["validation"]:
        what = (
            f"none of {len(patients['validation'])} validation patients has a mask"
            if patients["validation"]
            else ("there is no validation patient")
        )
        yield Finding(
            "warning",
            "validation_unlabelled",
            f"{what}, though {len(labelled['training'])} training patients have one, so a training run keeps its last "
            "weights; prepare again with --validation above 0, or give some of them a mask",
            numbers={split: len(found) for split, found in labelled.items()},
        )
    elif chooses and len(labelled["validation"]) < TO_CHOOSE:
        yield Finding(
            "note",
            "few_validation",
            f"{len(labelled['validation'])} validation patient{'s' * (len(labelled['validation']) > 1)} with a mask "
            "choose the "
            f"weights; with {TO_CHOOSE} or more, one odd case matters less",
            tuple(sorted(labelled["validation"])),
            {"patients": len(labelled["validation"])},
        )
    if len(labelled["test"]) < TO_MEASURE:
        count = len(labelled["test"])
        consequence = "so nothing is measured" if not count else "too few to tell methods apart"
        yield Finding(
            "note",
            "few_test",
            f"{count or 'no'} test patient{'s' * (count != 1)} with a mask, {consequence}; prepare again with a larger "
            "--test, "
            "or score by cross-validation",
            tuple(sorted(labelled["test"])),
            {"patients": count},
        )


def _left_out(data: DataSet) -> Iterator[Finding]:
    """What the preparation recorded: failed and unused cases, and slices dropped by its rules."""
    failed = data.preparation.get("failed") or {}
    if failed:
        first = next(iter(failed))
        text = (
            f"{len(failed)} cases failed when they were prepared ({listed([*failed])}; {first}: {failed[first]}); mend "
            "them"
        )
        yield Finding("warning", "failed", text, tuple(failed), {"reasons": dict(failed)})
    unused = data.preparation.get("unused") or []
    if unused:
        text = (
            f"{len(unused)} cases are not used, as nothing tells what they show ({listed(unused)}); give their presence"
        )
        yield Finding("note", "unused", text, tuple(unused))
    dropped = {name: count for name, count in (data.preparation.get("dropped") or {}).items() if count}
    kept = sum(len(scan.uses) for scan in data.scans)
    total = kept + sum(dropped.values())
    if dropped:
        parts = [f"{name} {count} ({count / total:.0%})" for name, count in dropped.items()]
        much = [name for name, count in dropped.items() if count / total > MOST]
        more = f"; {listed(much)} drops most of the data, so look at its limit" if much else ""
        text = f"of {total} slices, {kept} are kept and dropped are: {', '.join(parts)}{more}"
        yield Finding("note", "dropped", text, numbers={"kept": kept, **dropped})


def split_sizes(data: DataSet) -> Sequence[tuple[str, int, int]]:
    """Split, patients and slices (or volumes)."""
    splits = sorted(
        {split for scan in data.scans for split in scan.splits()}, key=lambda name: (name != "training", name)
    )
    return [
        (
            split,
            len({scan.patient for scan in data.scans if split in scan.splits()}),
            sum(use.split == split for scan in data.scans for use in scan.uses),
        )
        for split in splits
    ]
