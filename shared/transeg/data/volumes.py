"""Whole volumes for inference: find them, and process all that are usable.

A failed case is logged and skipped; at the end `ReportFailures` raises with the list of failed cases, so that the exit
status is non-zero.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.engines import Workflow
from monai.utils import ensure_tuple
from torch.utils.data import IterableDataset, get_worker_info

from transeg.data.datalist import FILES, load_list, read_json
from transeg.data.finder import survey
from transeg.data.results import remove_results
from transeg.data.table import Case, read_table, table_channels
from transeg.errors import BatchError, ConfigError, DataError, TableError, UserError, failure_report, reason, root_cause
from transeg.files import case_name
from transeg.references import SLICES, files_of, parse, suffix_of

logger = logging.getLogger(__name__)

TABLE = "cases.csv"


def find_volumes(
    folder: PathLike,
    channels: Sequence[str],
    split: str | Sequence[str] = "test_volumes",
    spacing: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """List the cases of a folder, a file or a table.

    Args:
        folder: folder, which is searched by `survey`, unless it holds a `datalist.json` or a table `cases.csv`; one
            volume file; folder of a DICOM series; or table of cases (`.csv`).
        channels: in their order, in any case and spelling, see `Case.item`.
        split: one or several lists of the datalist, concatenated.
        spacing: voxel size (X, Y, Z) in mm of slices (TIF, PNG), which hold none, where a table does not give it;
            default 1, with a warning.

    Returns:
        Items, see `Case.item`; those of a folder have no label. One that lacks channels fails when it is loaded.

    Raises:
        ConfigError: a spacing that is not three sizes.
        DataError: no such folder, no scan in it, or more than one possibility what is what.
    """
    if spacing is not None:
        _check_spacing(spacing)
    root = Path(folder)
    if root.suffix.lower() == ".csv":
        return _with_spacing(_of_table(root, channels), spacing)
    if (root / "datalist.json").is_file():
        content = read_json(root / "datalist.json")
        return [item for key in ensure_tuple(split) for item in load_list(root / "datalist.json", content, key)]
    if (root / TABLE).is_file():
        logger.info("The scans are those of %s.", root / TABLE)
        return _with_spacing(_of_table(root / TABLE, channels), spacing)
    if not root.exists() and "*" not in root.name:
        raise DataError(f"{root}: no such file or folder; name a folder of scans, a scan or a cases.csv")
    findings = survey(root)
    only = {name for case in findings.cases if len(case.images) == 1 for name in case.images}
    findings.check([*channels, *(only if len(channels) == 1 else ())])  # an only image serves under any name
    findings.log()
    _warn_of_order(findings.cases, channels)
    return _with_spacing(_items(findings.cases, channels, labelled=False), spacing)


def _with_spacing(items: list[dict[str, Any]], spacing: Sequence[float] | None) -> list[dict[str, Any]]:
    """Give slices without a voxel size one, and tell which."""
    bare = [item for item in items if "spacing" not in item and "problem" not in item and _is_slices(item["image"])]
    for item in bare:
        item |= {"spacing": list(spacing or (1.0, 1.0, 1.0)), "spacing_assumed": True}
    if bare:
        taken = " x ".join(f"{value:g}" for value in bare[0]["spacing"])
        logger.warning(
            "no voxel size in the slices of %s: %s mm %s; set --spacing, or the column spacing of a table, to another",
            f"{len(bare)} scans" if len(bare) > 1 else bare[0]["case"],
            taken,
            "as set or as in training" if spacing else "assumed, so sizes and volumes are wrong",
        )
    return items


def _check_spacing(spacing: Any) -> None:
    try:
        good = len(spacing) == 3 and all(float(size) > 0 for size in spacing)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ConfigError(f"spacing is {spacing!r}; expected three sizes in mm, e.g. --spacing '[0.94,0.94,6]'")


def _is_slices(references: Any) -> bool:
    return all(suffix_of(parse(reference)[0]) in SLICES for reference in ensure_tuple(references))


def _of_table(path: Path, channels: Sequence[str]) -> list[dict[str, Any]]:
    cases = read_table(path)
    lacking = [name for name in channels if all(name in case.missing(channels) for case in cases)]
    if lacking and len(channels) > 1:
        raise TableError(
            f"{path}: no column for {', '.join(lacking)}; its channels are {', '.join(table_channels(cases))}, those "
            f"needed are {', '.join(channels)}"
        )
    return _items(cases, channels, labelled=True)


def _items(cases: Sequence[Case], channels: Sequence[str], labelled: bool) -> list[dict[str, Any]]:
    items, doubts = [], []
    for case in cases:
        try:
            items.append(case.item(channels, labelled=labelled))
        except TableError as error:
            doubts.append(str(error))
    if doubts:
        raise TableError("\n  ".join([f"{len(doubts)} of {len(cases)} cases leave a choice:", *doubts]))
    return items


def _warn_of_order(cases: Sequence[Case], channels: Sequence[str]) -> None:
    stacks = [case.name for case in cases if case.is_stack(channels)]
    if stacks:
        logger.warning(
            "channels of %s are taken in the order %s; list them in a table (x.nii.gz#0) if they are in another",
            ", ".join(stacks),
            ", ".join(channels),
        )


class VolumeDataset(IterableDataset):
    """Yields transformed items; those that fail are logged, recorded in `failures` and skipped.

    With n processes, each takes every n-th item. Items are loaded in the main process (`num_workers` 0), which records
    the failures.

    Args:
        data: items, or files or lists of files that stand for {"image": ...}. Cases are named by `case_name`.
        transform: item with file names -> item with tensors.
        output_dir: folder of the results. Those of an earlier run for a case are removed before it is processed, so
            that none seems to be of this run if it fails; see `remove_results`.

    Raises:
        DataError: no item, or duplicate case names (results would overwrite each other).
    """

    def __init__(
        self, data: Sequence[Any], transform: Callable[[dict[Any, Any]], Any], output_dir: PathLike | None = None
    ) -> None:
        if isinstance(data, str | Path):
            raise DataError(f"{data}: not a list of items; for a folder or its datalist, set dataset_dir")
        if not data:
            raise DataError("no volumes: the list of data is empty")
        self.items = [_named(item if isinstance(item, dict) else {"image": item}) for item in data]
        self.transform, self.output_dir = transform, output_dir
        self.failures: dict[str, str] = {}
        names = [item["case"] for item in self.items]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise DataError(f'duplicate case name {", ".join(double)}; give each item its own "case"')

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise RuntimeError("VolumeDataset records failures in the main process: set num_workers to 0")
        inputs = [path for item in self.items for path in _inputs(item)]
        for item in self.items[idist.get_rank() :: idist.get_world_size()]:
            if self.output_dir is not None:
                remove_results(self.output_dir, item["case"], keep=inputs)
            try:
                result = self.transform(item)
            except Exception as error:
                self.fail(item["case"], error)
            else:
                yield result

    def fail(self, case: str, error: BaseException) -> None:
        """Log and record that a case failed."""
        cause = root_cause(error)
        self.failures[case] = reason(cause)
        trace = None if isinstance(cause, UserError) else cause
        logger.error("%s failed: %s", case, self.failures[case], exc_info=trace)


def _inputs(item: Mapping[str, Any]) -> Iterator[Path]:
    for key in FILES:
        value = item.get(key)
        for reference in (value,) if isinstance(value, str | os.PathLike) else value or ():
            yield from files_of(reference)


def _named(item: dict[str, Any]) -> dict[str, Any]:
    return {"case": case_name(item, "image"), **item}


class GuardedIteration:
    """An `iteration_update` that lets an evaluator continue after a case fails in the network or while saving.

    An evaluator with metrics stops instead, since they need an output; it still skips volumes that fail to load.
    """

    def __init__(self, dataset: VolumeDataset) -> None:
        self.dataset = dataset

    def __call__(self, engine: Workflow, batch: dict[str, Any]) -> Any:
        """Run the evaluator's own iteration; on failure, the output is an empty list."""
        try:
            return engine._iteration(engine, batch)
        except Exception as error:
            if engine.state.key_metric_name is not None:
                raise
            for case in batch["case"]:
                self.dataset.fail(case, error)
            engine.state.batch = engine.state.output = []
            return []


class ReportFailures:
    """Handler that raises `BatchError` at the end of the run if any case failed on any process.

    Only the first process raises, so that the list is printed once; torchrun exits with status 1 if any process does.
    """

    def __init__(self, dataset: VolumeDataset) -> None:
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Gather the failures of all processes; raise on the first process if there are any."""
        gathered = idist.all_gather(json.dumps(self.dataset.failures))
        failures: dict[str, str] = {}
        for part in ensure_tuple(gathered):  # a bare string from a single process
            failures |= json.loads(part)
        if failures and idist.get_rank() == 0:
            raise BatchError(failure_report(failures, len(self.dataset.items)))
