"""Whole volumes for inference: find them, and process all that are usable.

A failed case is logged and skipped; at the end `ReportFailures` raises with the list of failed cases, so that the exit
status is non-zero.
"""

from __future__ import annotations

import json
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.engines import Workflow
from monai.utils import ensure_tuple
from torch.utils.data import IterableDataset, get_worker_info

from transeg.data.datalist import load_list
from transeg.errors import BatchError, DataError, UserError, reason, root_cause
from transeg.files import case_name, volume_stem

logger = logging.getLogger(__name__)

# names of sequences in the file names of public datasets (BraTS 2012 to 2023, MSD), case-insensitive
SEQUENCES = {
    "FLAIR": ("flair", "t2f"),
    "T1c": ("t1c", "t1ce", "t1gd"),
    "T1": ("t1", "t1n"),
    "T2": ("t2", "t2w"),
}
NOT_IMAGES = {"seg", "label", "labels", "mask", "brainmask", "prob", "translation", "fatfraction"}


def find_volumes(
    folder: PathLike, channels: Sequence[str], split: str | Sequence[str] = "test_volumes"
) -> list[dict[str, Any]]:
    """List the cases of a folder.

    If it holds a `datalist.json`, these are the items of `split`. Otherwise, files that differ only in the name of the
    sequence form one case (`case1/case1_flair.nii.gz`, `case1/case1_t1ce.nii.gz`, ...), and any other NIfTI file is
    one case with channels last.

    Args:
        folder: searched recursively.
        channels: sequences in channel order: keys of `SEQUENCES` or parts of file names.
        split: one or several lists of the datalist, concatenated.

    Returns:
        Items {"image": files, "case": name}; missing files are listed under their expected name.

    Raises:
        DataError: no such folder, or no volume in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set dataset_dir to a folder of NIfTI volumes")
    if (root / "datalist.json").is_file():
        lists, listed = json.loads((root / "datalist.json").read_text()), []
        for key in ensure_tuple(split):
            if lists.get(key, True):  # MONAI's reader needs a first item
                listed += load_list(root / "datalist.json", lists, key)
        return listed
    items = []
    for place in sorted({path.parent for path in root.rglob("*.nii*") if not path.name.startswith(".")}):
        items += _cases_in(place, root, channels)
    if not items:
        raise DataError(f"{root}: no NIfTI volumes (.nii, .nii.gz) found; check dataset_dir")
    return items


def _cases_in(place: Path, root: Path, channels: Sequence[str]) -> list[dict[str, Any]]:
    # other sequence names only count for brain channels: elsewhere p1_T1.nii.gz is a scan of its own
    known = SEQUENCES if SEQUENCES.keys() & set(channels) else {}
    aliases = {alias: name for name, names in known.items() for alias in names}
    aliases |= {name.lower(): name for name in channels}
    cases: dict[str, dict[str, Path]] = {}
    plain = []
    for path in sorted(path for path in place.glob("*.nii*") if not path.name.startswith(".")):
        parts = re.split(r"([-_.])", volume_stem(path))
        named = [i for i, part in enumerate(parts) if part.lower() in aliases]
        if NOT_IMAGES & {part.lower() for part in parts}:
            continue
        if not named:
            plain.append(path)
            continue
        template = path.name.replace("".join(parts), "".join([*parts[: named[-1]], "*", *parts[named[-1] + 1 :]]))
        cases.setdefault(template, {})[aliases[parts[named[-1]].lower()]] = path
    items: list[dict[str, Any]] = [{"image": str(path), "case": volume_stem(path)} for path in plain]
    for template, files in cases.items():
        images = [files.get(name, place / template.replace("*", name.lower())) for name in channels]
        own_folder = len(cases) == 1 and not plain and place != root
        stem = volume_stem(template).replace("*", "").strip("-_.")
        items.append({"image": [str(image) for image in images], "case": place.name if own_folder else stem})
    return items


class VolumeDataset(IterableDataset):
    """Yields transformed items; those that fail are logged, recorded in `failures` and skipped.

    With n processes, each takes every n-th item. Items are loaded in the main process (`num_workers` 0), which records
    the failures.

    Args:
        data: items, or files or lists of files that stand for {"image": ...}. Cases are named by `case_name`.
        transform: item with file names -> item with tensors.

    Raises:
        DataError: no item, or duplicate case names (results would overwrite each other).
    """

    def __init__(self, data: Sequence[Any], transform: Callable[[dict[Any, Any]], Any]) -> None:
        if isinstance(data, str | Path):
            raise DataError(f"{data}: not a list of items; for a folder or its datalist, set dataset_dir")
        if not data:
            raise DataError("no volumes: the list of data is empty")
        self.items = [_named(item if isinstance(item, dict) else {"image": item}) for item in data]
        self.transform = transform
        self.failures: dict[str, str] = {}
        names = [item["case"] for item in self.items]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise DataError(f'duplicate case name {", ".join(double)}; give each item its own "case"')

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise RuntimeError("VolumeDataset records failures in the main process: set num_workers to 0")
        for item in self.items[idist.get_rank() :: idist.get_world_size()]:
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
            head = f"{len(failures)} of {len(self.dataset.items)} cases failed; the remaining cases were processed:"
            raise BatchError("\n  ".join([head, *(f"{case}: {why}" for case, why in sorted(failures.items()))]))


def check_writable(folder: PathLike) -> None:
    """Create a folder if needed and check that it is writable, before a long run.

    Raises:
        UserError: it cannot be created or written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=Path(folder)):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot write to the output folder ({error.strerror}); set output_dir") from error
