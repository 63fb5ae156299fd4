"""From cases (the files of one scan) to stacks of slices and a datalist, for every volume data set.

A command finds its cases, splits them by patient and defines how a case becomes slices. This module processes the cases
one by one, records failures and continues, keeps labels for whole volumes only, and writes the datalist last.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import typer
from tqdm import tqdm
from transeg.data.datalist import write_datalist
from transeg.data.slices import CaseSlices, write_slices
from transeg.error_hook import exit_with_reason
from transeg.errors import CasesFailedError, UserError, reason, root_cause

logger = logging.getLogger(__name__)

SPLITS = ("training", "validation", "test")


@dataclass(frozen=True)
class Case:
    """The files of one scan. A `problem` found while searching for them fails the case when it is processed."""

    name: str
    images: tuple[Path, ...] = ()  # one per channel
    label: Path | None = None
    mask: Path | None = None
    patient: str = ""
    group: str = ""  # stratum of the split, such as the grade
    problem: str = ""

    def volumes(self, folder: Path, labelled: bool) -> dict[str, Any]:
        """Datalist item of the whole volumes, paths relative to `folder` where possible."""
        item: dict[str, Any] = {"image": [_relative(path, folder) for path in self.images], "case": self.name}
        if self.mask is not None:
            item["mask"] = _relative(self.mask, folder)
        return item | ({"label": _relative(self.label, folder)} if labelled and self.label else {})


class Named(Protocol):
    """What is needed of a case to write its stacks."""

    @property
    def name(self) -> str: ...
    @property
    def problem(self) -> str: ...


C = TypeVar("C", bound=Named)


@dataclass
class Kept:
    """The items of the slices that a case contributes, and the number of dropped slices by reason."""

    presence: list[dict[str, Any]] = field(default_factory=list)
    absence: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def prepare_cases(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    extract: Callable[[Case], CaseSlices],
    out: Path,
    *,
    labelled_fraction: float,
    labelled_count: int | None = None,
    labelled_cases: Sequence[str] = (),
    seed: int = 0,
    workers: int = 1,
    arrange: Callable[[dict[str, list[dict]]], None] | None = None,
    graded: bool = False,
    also_training: Collection[str] = (),
    name: str,
    description: str,
    recipe: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Path:
    """Write the stacks of every case, then the datalist.

    Args:
        cases: cases to prepare.
        splits: split by case name.
        extract: returns the slices of a case; must be picklable.
        out: output folder.
        labelled_fraction: fraction of the training volumes that keep their label, at least one.
        labelled_count: number of training volumes that keep their label; overrides the fraction.
        labelled_cases: names of the training volumes that keep their label; overrides the draw.
        seed: random seed of the draw.
        workers: number of processes.
        arrange: changes the lists of slices ("training", "training_absence" and so on for each split) in place, e.g. to
            weight items or to move them to another split.
        graded: domains are assigned to whole cases rather than to slices by label; cases of both domains may then keep
            their label, and validation and test need not contain both.
        also_training: names of cases of other splits whose slices, without labels, are trained on as well
            (transductive learning).
        name: of the data set, see `write_datalist`.
        description: see `write_datalist`.
        recipe: see `write_datalist`.
        options: options of the command.

    Returns:
        Path of the datalist.

    Raises:
        CasesFailedError: at the end, if any case failed.
        ValueError: no training slice with a lesion, or the requested labelled volumes do not exist.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "datalist.json"
    path.unlink(missing_ok=True)  # an incomplete folder is no data set
    cases = sorted(cases, key=lambda case: case.name)
    kept, failed = write_cases(cases, extract, out, workers)
    training = [case.name for case in cases if case.name in kept and splits[case.name] == "training"]
    if not any(kept[name].presence for name in {*training, *also_training} & set(kept)):
        raise UserError("no slice with a lesion in the training volumes, nothing to train on" + _listed(failed))
    with_label = {case.name for case in cases if case.label}
    eligible = [name for name in training if name in with_label and (graded or kept[name].presence)]
    labelled = _choose_labelled(eligible, len(training), labelled_fraction, labelled_count, labelled_cases, seed)

    lists: dict[str, list[dict]] = {key: [] for split in SPLITS for key in (split, f"{split}_absence")}
    volumes: dict[str, list[dict]] = {f"{split}_volumes": [] for split in SPLITS}
    for case in (case for case in cases if case.name in kept):
        split, slices = splits[case.name], kept[case.name]
        shows_label = split != "training" or case.name in labelled
        label = {"label": f"labels/{case.name}.npy"} if shows_label and case.label else {}
        lists[split] += [item | label for item in slices.presence]
        lists[f"{split}_absence"] += slices.absence
        if split != "training" and case.name in also_training:
            lists["training"] += slices.presence
            lists["training_absence"] += slices.absence
        volumes[f"{split}_volumes"].append(case.volumes(out, shows_label))
    if arrange is not None:
        arrange(lists)
    dropped = sum((Counter(slices.dropped) for slices in kept.values()), Counter())
    write_datalist(
        path,
        lists | volumes,
        name=name,
        description=description,
        recipe=recipe,
        preparation={
            "options": dict(options),
            "seed": seed,
            "labelled_cases": sorted(labelled),
            "kept": {key: len(items) for key, items in (lists | volumes).items()},
            "dropped": dict(dropped),
            "groups": {case.name: case.group for case in cases if case.group},
            "failed": failed,
        },
    )
    _print_summary(lists | volumes, labelled, dropped, SPLITS[:1] if graded else SPLITS)
    print(f"wrote {path}")
    raise_failed(failed, len(cases))
    return path


def write_cases(
    cases: Sequence[C], extract: Callable[[C], CaseSlices], out: Path, workers: int = 1
) -> tuple[dict[str, Kept], dict[str, str]]:
    """Write the stacks of every case; arguments as for `prepare_cases`.

    Returns:
        What is kept, by case name, and the reason of each failure, by case name.
    """
    kept: dict[str, Kept] = {}
    failed: dict[str, str] = {}
    for case, result in zip(
        cases, _work(cases, partial(_prepare_case, extract=extract, out=out), workers), strict=True
    ):
        if isinstance(result, str):
            failed[case.name] = result
            logger.error("%s failed: %s", case.name, result)
        else:
            kept[case.name] = result
    return kept, failed


def raise_failed(failed: Mapping[str, str], cases: int) -> None:
    """Raise CasesFailedError with the reason of each failure, if any; `cases` is the total number."""
    if failed:
        raise CasesFailedError(
            f"{len(failed)} of {cases} cases failed; the remaining cases were processed:{_listed(failed)}"
        )


def _listed(failed: Mapping[str, str]) -> str:
    return "".join(f"\n  {case}: {reason}" for case, reason in failed.items())


def _work(cases: Sequence[C], task: Callable[[C], Any], workers: int) -> Iterator[Any]:
    progress = partial(tqdm, total=len(cases), desc="cases", unit="case", disable=None)
    if workers <= 1:
        yield from progress(map(task, cases))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from progress(pool.map(task, cases))


def _prepare_case(case: C, extract: Callable[[C], CaseSlices], out: Path) -> Kept | str:
    """Write the stacks of a case; returns the reason if it fails."""
    if case.problem:
        return case.problem
    try:
        slices = extract(case)
        presence, absence = write_slices(out, case.name, slices)
    except Exception as error:  # one bad case must not stop the others
        cause = root_cause(error)
        if not isinstance(cause, UserError):
            logger.exception("%s", case.name, exc_info=cause)
        return reason(cause)
    return Kept(presence, absence, slices.dropped)


def _choose_labelled(
    eligible: Sequence[str], volumes: int, fraction: float, count: int | None, names: Sequence[str], seed: int
) -> set[str]:
    """Draw the training volumes that keep their label; smaller numbers give subsets of larger ones."""
    if names:
        unknown = sorted(set(names) - set(eligible))
        if unknown:
            raise UserError(
                f"no training volume with a lesion is named {', '.join(unknown)}; choose from: {', '.join(eligible)}"
            )
        return set(names)
    if count is None:
        count = min(len(eligible), max(1, round(fraction * volumes)))
    if not 0 <= count <= len(eligible):
        raise UserError(f"{count} labelled volumes requested, but {len(eligible)} training volumes show a lesion")
    return set(np.random.default_rng((seed, 1)).permutation(eligible)[:count].tolist())


def _print_summary(
    lists: Mapping[str, Sequence], labelled: set[str], dropped: Mapping[str, int], both: Sequence[str]
) -> None:
    """Print the counts, and a warning for each split of `both` that lacks a domain."""
    print(f"{'':12}{'volumes':>9}{'presence':>10}{'absence':>9}")
    for split in SPLITS:
        counts = [len(lists[split + kind]) for kind in ("_volumes", "", "_absence")]
        print(f"{split:12}{counts[0]:9}{counts[1]:10}{counts[2]:9}")
    with_label = sum("label" in item for item in lists["training"])
    print(f"labelled: {with_label} training slices of {', '.join(sorted(labelled)) or 'no volume'}")
    print("dropped: " + (", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "none"))
    for split in both:
        for kind, suffix in (("presence", ""), ("absence", "_absence")):
            if lists[f"{split}_volumes"] and not lists[split + suffix]:
                print(f"warning: {split} has no {kind} slice; add volumes or lower the minimum areas")


def _relative(path: Path, folder: Path) -> str:
    path, folder = path.resolve(), folder.resolve()
    return os.path.relpath(path, folder) if path.anchor == folder.anchor else str(path)


def unique_names(names: Iterable[str]) -> None:
    """Raise ValueError if two cases share a name, as their stacks would overwrite each other."""
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise UserError(f"several cases are named {', '.join(double)}; rename their folders or prepare them separately")


def run_command(prepare: Callable[..., Path]) -> None:
    """Run a command; data errors become a one-line message and exit status 1."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with exit_with_reason():
        typer.run(prepare)
