"""From cases (the volumes of one scan) to stacks of slices and a datalist: what every volume data set shares.

A command finds its cases, splits them by patient and says how one case becomes slices; here the cases are worked
through one by one, a bad one is noted and the others are done, labels are kept for whole volumes only, and the
datalist is written last.
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
from typing import Any

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
    """The files of one scan. A `problem` found while looking for them makes the case fail when its turn comes."""

    name: str
    images: tuple[Path, ...] = ()  # one for each channel
    label: Path | None = None
    mask: Path | None = None
    patient: str = ""
    group: str = ""  # such as the grade; splits keep the proportions
    problem: str = ""

    def volumes(self, folder: Path, labelled: bool) -> dict[str, Any]:
        """Item of the whole volumes for a datalist in `folder`, paths relative to it where possible."""
        item = {"image": [_relative(path, folder) for path in self.images], "case": self.name}
        if self.mask is not None:
            item["mask"] = _relative(self.mask, folder)
        return item | ({"label": _relative(self.label, folder)} if labelled and self.label else {})


@dataclass
class Kept:
    """The slices of a case without their pixels."""

    presence: list[dict[str, Any]] = field(default_factory=list)
    absence: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)


def prepare_cases(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    make: Callable[[Case], CaseSlices],
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
    modality: Sequence[str],
    labels: Sequence[str],
    options: Mapping[str, Any],
) -> Path:
    """Write the stacks of every case and then the datalist.

    Args:
        cases: what to prepare.
        splits: split by name of the case.
        make: how a case becomes slices; a function that can be sent to another process.
        out: folder to write to.
        labelled_fraction: share of the training volumes that keep their label, at least one.
        labelled_count: their number, instead.
        labelled_cases: their names, instead.
        seed: of the choice.
        workers: processes.
        arrange: changes the lists of slices in place, "training", "training_absence" and so on for each split, such as
            to give items a weight or another split.
        graded: whole cases belong to a domain, not slices by their label; either may then keep its label, and
            validation and test need not show both.
        also_training: names of cases of other splits whose slices are trained on as well, without their labels
            (transductive).
        name: for the datalist, as are `description`, `modality`, `labels`, and `options` of the command.

    Returns:
        The datalist.

    Raises:
        CasesFailedError: at the end, if any case failed.
        ValueError: nothing could be prepared for training, or the labelled volumes asked for do not exist.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / "datalist.json"
    path.unlink(missing_ok=True)  # until the end the folder is not a whole data set
    cases = sorted(cases, key=lambda case: case.name)
    kept, failed = write_cases(cases, make, out, workers)
    training = [case.name for case in cases if case.name in kept and splits[case.name] == "training"]
    if not any(kept[name].presence for name in {*training, *also_training} & set(kept)):
        raise UserError("no slice with a lesion in the training volumes, so nothing to learn from" + _listed(failed))
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
        modality=modality,
        labels=labels,
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
    cases: Sequence[Case], make: Callable[[Case], CaseSlices], out: Path, workers: int = 1
) -> tuple[dict[str, Kept], dict[str, str]]:
    """Write the stacks of every case; arguments as for `prepare_cases`.

    Returns:
        What is kept by name of the case, and the reason by name of each that failed.
    """
    kept: dict[str, Kept] = {}
    failed: dict[str, str] = {}
    for case, result in zip(cases, _work(cases, partial(_prepare_case, make=make, out=out), workers), strict=True):
        if isinstance(result, str):
            failed[case.name] = result
            logger.error("%s failed: %s", case.name, result)
        else:
            kept[case.name] = result
    return kept, failed


def raise_failed(failed: Mapping[str, str], cases: int) -> None:
    """Raise CasesFailedError with the reason of each case that failed, if any of that many cases did."""
    if failed:
        listed = _listed(failed)
        raise CasesFailedError(f"{len(failed)} of {cases} cases failed; the remaining cases were processed:{listed}")


def _listed(failed: Mapping[str, str]) -> str:
    return "".join(f"\n  {case}: {reason}" for case, reason in failed.items())


def _work(cases: Sequence[Case], task: Callable[[Case], Any], workers: int) -> Iterator[Any]:
    progress = partial(tqdm, total=len(cases), desc="cases", unit="case", disable=None)
    if workers <= 1:
        yield from progress(map(task, cases))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from progress(pool.map(task, cases))


def _prepare_case(case: Case, make: Callable[[Case], CaseSlices], out: Path) -> Kept | str:
    """Write the stacks of a case; the reason as text if it fails."""
    if case.problem:
        return case.problem
    try:
        slices = make(case)
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
    """Training volumes that keep their label; a smaller number gives a subset."""
    if names:
        unknown = sorted(set(names) - set(eligible))
        if unknown:
            raise UserError(
                f"no training volume with a lesion is named {', '.join(unknown)}; choose labelled volumes from: "
                f"{', '.join(eligible)}"
            )
        return set(names)
    if count is None:
        count = min(len(eligible), max(1, round(fraction * volumes)))
    if not 0 <= count <= len(eligible):
        raise UserError(f"{count} labelled volumes wanted, but {len(eligible)} training volumes show a lesion")
    return set(np.random.default_rng((seed, 1)).permutation(eligible)[:count].tolist())


def _print_summary(
    lists: Mapping[str, Sequence], labelled: set[str], dropped: Mapping[str, int], both: Sequence[str]
) -> None:
    """Counts, and a warning where a split of `both` lacks a domain."""
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
                print(
                    f"warning: {split} has no {kind} slice; take more volumes or lower the area that a slice must show"
                )


def _relative(path: Path, folder: Path) -> str:
    path, folder = path.resolve(), folder.resolve()
    return os.path.relpath(path, folder) if path.anchor == folder.anchor else str(path)


def names_of(text: str) -> list[str]:
    """Split a comma-separated option."""
    return [name.strip() for name in text.split(",") if name.strip()]


def unique_names(names: Iterable[str]) -> None:
    """Raise ValueError if two cases share a name, since their stacks would overwrite each other."""
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        raise UserError(f"several cases are named {', '.join(double)}; rename their folders or prepare them apart")


def run_command(prepare: Callable[..., Path]) -> None:
    """Run a command line; the user's errors become one message and exit status 1."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with exit_with_reason():
        typer.run(prepare)
