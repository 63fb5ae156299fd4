"""From cases (the files of one scan) to stacks of slices and a datalist, for every volume data set.

A command finds its cases, splits them by patient and defines how a case becomes slices. This module processes the cases
one by one, records failures and continues, keeps labels for whole volumes only, and writes the datalist last.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from tqdm import tqdm
from transeg.data.datalist import read_json, write_datalist
from transeg.data.finder import Patterns, find_cases
from transeg.data.slices import CaseSlices, write_slices
from transeg.data.table import SPLITS, Case
from transeg.data.training_cases import HASHES, digests_of
from transeg.error_hook import exit_with_reason
from transeg.errors import CasesFailedError, DataError, UserError, failure_report, reason, root_cause
from transeg.references import parse
from transeg.transforms.checks import no_mask
from transeg.transforms.familiarity import ALL, MIN_SCANS, fit_references
from transeg.transforms.read import read_volume

logger = logging.getLogger(__name__)

DATALIST = "datalist.json"
Extract = Callable[[Mapping[str, Any]], CaseSlices]


@dataclass
class Kept:
    """The items of the slices that a case contributes, counts of dropped slices by reason, and features of the scan.

    `digests` are the hashes of its images, see `transeg.data.training_cases`.
    """

    presence: list[dict[str, Any]] = field(default_factory=list)
    absence: list[dict[str, Any]] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    features: np.ndarray | None = None
    digests: list[str] = field(default_factory=list)


def scans_below(folder: Path, channels: Sequence[str], patterns: Patterns | None = None) -> list[Case]:
    """Cases below a folder, see `find_cases`; those that lack a channel have a `problem`.

    Raises:
        DataError: no case, or more than one possibility what is what.
    """
    findings = find_cases(folder, patterns, roles=(*channels, "label", "foreground"))
    findings.log()
    return [replace(case, problem=_fault(case, channels)) for case in findings.cases]


def _fault(case: Case, channels: Sequence[str]) -> str:
    place = parse(next(iter(case.images.values()))).path
    if case.is_stack(channels):
        return f"{place}: which channel is which? list {place.name}#0, {place.name}#1, ... in a table"
    missing = ", ".join(case.missing(channels))
    return f"{place.parent}: no file for {missing}; add it or drop the channel" if missing else ""


def prepare_cases(
    cases: Sequence[Case],
    splits: Mapping[str, str],
    extract: Extract,
    out: Path,
    *,
    labelled_fraction: float = 1.0,
    labelled_count: int | None = None,
    labelled_cases: Sequence[str] = (),
    seed: int = 0,
    workers: int = 1,
    arrange: Callable[[dict[str, list[dict]]], None] | None = None,
    graded: bool = False,
    both_domains: bool = False,
    also_training: Collection[str] = (),
    name: str,
    description: str,
    recipe: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Path:
    """Write the stacks of every case, then the datalist.

    Args:
        cases: cases to prepare. Those of which neither a label nor an image-level label (nor, if `graded`, a domain) is
            known are listed, as "unused", and not prepared.
        splits: split by case name.
        extract: returns the slices of an item {"image": files, "label": file, ...}; must be picklable.
        out: output folder.
        labelled_fraction: fraction of the labelled training volumes that keep their label, at least one.
        labelled_count: number of training volumes that keep their label; overrides the fraction.
        labelled_cases: names of the training volumes that keep their label; overrides the draw.
        seed: random seed of the draw.
        workers: number of processes.
        arrange: changes the lists of slices ("training", "training_absence" and so on for each split) in place, e.g. to
            weight items or to move them to another split.
        graded: domains are assigned to whole cases rather than to slices by label; cases of both domains may then keep
            their label, and validation and test need not contain both.
        both_domains: refuse data without a training slice of absence; otherwise only those without one of presence,
            and what is missing is told.
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
        UserError: no training slice of a domain, or the requested labelled volumes do not exist.
    """
    cases = sorted(cases, key=lambda case: case.name)
    unused = [case.name for case in cases if not (is_known(case) or case.problem)]
    cases = [case for case in cases if case.name not in set(unused)]
    channels = recipe["channels"]
    with new_data_set(out, name, recipe["method"]) as folder:
        kept, failed = write_cases(cases, channels, extract, folder, workers)
        training = [case.name for case in cases if case.name in kept and splits[case.name] == "training"]
        with_label = {case.name for case in cases if case.label}
        eligible = [name for name in training if name in with_label and (graded or kept[name].presence)]
        used = [kept[name] for name in {*training, *also_training} & set(kept)]
        _check_domains(used, ("presence", "absence") if both_domains else ("presence",), failed)
        labelled = choose_labelled(
            eligible, len(with_label & set(training)), labelled_fraction, labelled_count, labelled_cases, seed
        )
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
            volumes[f"{split}_volumes"].append(case.item(channels, out, shows_label))
        if arrange is not None:
            arrange(lists)
        dropped = sum((Counter(slices.dropped) for slices in kept.values()), Counter())
        write_datalist(
            folder / DATALIST,
            lists | volumes,
            name=name,
            description=description,
            recipe=dict(recipe) | familiarity({name: kept[name] for name in training}),
            preparation={
                "options": dict(options),
                "seed": seed,
                "labelled_cases": sorted(labelled),
                "kept": {key: len(items) for key, items in (lists | volumes).items()},
                "dropped": dict(dropped),
                "groups": {case.name: case.group for case in cases if case.group},
                "patients": patients_of(cases),
                HASHES: {name: one.digests for name, one in kept.items()},
                "unused": unused,
                "failed": failed,
            },
        )
    _print_summary(lists | volumes, labelled, dropped, SPLITS[:1] if graded else SPLITS)
    if unused:
        print(
            f"not used: {', '.join(unused)}: neither a label nor an image-level label tells what they show; give their "
            "presence (yes, no or slices such as 40-73) in the table"
        )
    print(f"wrote {out / DATALIST}")
    raise_failed(failed, len(cases))
    return out / DATALIST


def _check_domains(training: Sequence[Kept], kinds: Sequence[str], failed: Mapping[str, str]) -> None:
    """Raise UserError unless there are slices of each kind, presence or absence, to train on."""
    for kind in kinds:
        if not any(getattr(kept, kind) for kept in training):
            what = {"presence": "with", "absence": "without"}[kind]
            raise UserError(
                f"no slice {what} a lesion in the training volumes, nothing to train on; {_REMEDIES[kind]}"
                + reasons(failed)
            )


@contextmanager
def new_data_set(out: Path, name: str, method: str) -> Iterator[Path]:
    """A folder to write a data set into, whose content moves to `out` at the end: whole, or not at all.

    It takes the place of an earlier one of the same data and method, which is removed only then.

    Args:
        out: output folder; made if needed, and if it fails not left empty.
        name: of the data set.
        method: that it is prepared for.

    Raises:
        UserError: the folder holds another data set.
    """
    earlier = _same_data_set(out, name, method)
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    part = out / ".part"
    shutil.rmtree(part, ignore_errors=True)  # of a command that was killed
    part.mkdir(parents=True)
    try:
        yield part
        if earlier:
            print(f"replacing the data set in {out}")
            (out / DATALIST).unlink()
        for stack in earlier:
            stack.unlink(missing_ok=True)
        for file in sorted(path for path in part.rglob("*") if path.is_file() and path.name != DATALIST):
            target = out / file.relative_to(part)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
        (part / DATALIST).replace(out / DATALIST)
        made.clear()
    finally:
        shutil.rmtree(part)
        for folder in made:
            folder.rmdir()


def _same_data_set(out: Path, name: str, method: str) -> list[Path]:
    """Stacks of the data set in a folder, empty without any; UserError if it is another one."""
    if not (out / DATALIST).is_file():
        return []
    content = read_json(out / DATALIST)
    found = (content.get("name"), content.get("recipe", {}).get("method"))
    if found != (name, method):
        raise UserError(f"{out}: holds the data set {found[0]!r} for {found[1]}; delete it or choose another --out")
    items = [item for items in content.values() if isinstance(items, list) for item in items]
    listed = {item.get(key) for item in items for key in ("image", "label") if isinstance(item.get(key), str)}
    stacks = [stack for kind in ("images", "labels") for stack in (out / kind).glob("*.npy")]
    return [stack for stack in stacks if stack.relative_to(out).as_posix() in listed]


def label_values(case: Case) -> list[int]:
    """Values above 0 in the label of a case.

    Raises:
        DataError: values that are no whole numbers, which a mask has not.
    """
    assert case.label is not None
    values = np.unique(read_volume(case.label, case.spacing).numpy()).tolist()
    broken = [value for value in values if not float(value).is_integer()]
    if broken:
        raise DataError(f"{case.label}: {no_mask(broken[0])}")
    return [int(value) for value in values if value > 0]


def patients_of(cases: Sequence[Case]) -> dict[str, str]:
    """Patient by case name, of cases that are not named after theirs."""
    return {case.name: case.patient for case in cases if case.patient not in ("", case.name)}


def is_known(case: Case) -> bool:
    """Whether it is known which domain the case, or each of its slices, belongs to."""
    return bool(case.label or case.domain) or case.presence is not None


def write_cases(
    cases: Sequence[Case], channels: Sequence[str], extract: Extract, out: Path, workers: int = 1
) -> tuple[dict[str, Kept], dict[str, str]]:
    """Write the stacks of every case; arguments as for `prepare_cases`.

    Returns:
        What is kept, by case name, and the reason of each failure, by case name.
    """
    kept: dict[str, Kept] = {}
    failed: dict[str, str] = {}
    task = partial(_prepare_case, channels=tuple(channels), extract=extract, out=out)
    for case, result in zip(cases, _work(cases, task, workers), strict=True):
        if isinstance(result, str):
            failed[case.name] = result
            logger.error("%s failed: %s", case.name, result)
        else:
            kept[case.name] = result
    return kept, failed


def familiarity(training: Mapping[str, Kept], groups: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What a recipe says about the training scans, by which inference recognises others, see `CheckFamiliard`.

    Args:
        training: by case name.
        groups: domain by case name, if the reference depends on it.
    """
    described = {name: case.features for name, case in training.items() if case.features is not None}
    groups = groups or dict.fromkeys(described, ALL)
    references = fit_references(list(described.values()), [groups[name] for name in described])
    for group in sorted({groups[name] for name in described} - references.keys()):
        logger.warning(
            "fewer than %d training scans%s: inference cannot warn of scans that differ from them",
            MIN_SCANS, "" if group == ALL else f" of {group.upper()}",
        )  # fmt: skip
    return {"familiarity": references} if references else {}


def raise_failed(failed: Mapping[str, str], cases: int) -> None:
    """Raise CasesFailedError with the reason of each failure, if any; `cases` is the total number."""
    if failed:
        raise CasesFailedError(failure_report(failed, cases))


def reasons(failed: Mapping[str, str]) -> str:
    """A line for each failure, by case name."""
    return "".join(f"\n  {case}: {reason}" for case, reason in failed.items())


def _work(cases: Sequence[Case], task: Callable[[Case], Any], workers: int) -> Iterator[Any]:
    progress = partial(tqdm, total=len(cases), desc="cases", unit="case", disable=None)
    if workers <= 1:
        yield from progress(map(task, cases))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield from progress(pool.map(task, cases))


def _prepare_case(case: Case, channels: Sequence[str], extract: Extract, out: Path) -> Kept | str:
    """Write the stacks of a case; returns the reason if it fails."""
    if case.problem:
        return case.problem
    try:
        item = case.item(channels)
        slices = extract(item)
        presence, absence = write_slices(out, case.name, slices)
        digests = digests_of(item)
    except Exception as error:  # one bad case must not stop the others
        cause = root_cause(error)
        if not isinstance(cause, UserError):
            logger.exception("%s", case.name, exc_info=cause)
        return reason(cause)
    return Kept(presence, absence, slices.dropped, slices.features, digests)


def choose_labelled(
    eligible: Sequence[str], volumes: int, fraction: float, count: int | None, names: Sequence[str], seed: int
) -> set[str]:
    """Draw the training volumes that keep their label; smaller numbers give subsets of larger ones.

    Args:
        eligible: names of those whose label shows a lesion.
        volumes: number of those with a label.
        fraction: of `volumes` to draw, at least one.
        count: number to draw; overrides the fraction.
        names: volumes to take instead.
        seed: random seed of the draw.

    Raises:
        UserError: there are none of these names, or too few.
    """
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
    print("labelled: " + (f"{with_label} training slices of {', '.join(sorted(labelled))}" if labelled else "none"))
    print("dropped: " + (", ".join(f"{reason} {count}" for reason, count in dropped.items()) or "none"))
    if not any("label" in item for item in lists["validation"]):
        kind = "warning" if with_label else "note"  # without any mask, that is meant
        print(f"{kind}: no validation slice with a lesion has a mask; a training run keeps its last weights then")
    for split in both:
        for kind, suffix in (("presence", ""), ("absence", "_absence")):
            if lists[f"{split}_volumes"] and not lists[split + suffix]:
                print(f"warning: {split} has no {kind} slice; {_REMEDIES[kind]}")


_REMEDIES = {
    "presence": "add volumes or lower the minimum areas",
    "absence": "add patients whose presence is no, or give the slices that show the lesion instead of yes",
}


def run_command(prepare: Callable[..., Path | None]) -> None:
    """Run a command; data errors become a one-line message and exit status 1."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    with exit_with_reason():
        typer.run(prepare)
