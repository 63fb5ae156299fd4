"""Whole volumes for inference: finding them, and running many of which some are bad.

A case that fails is logged and left out, the others are done, and at the end `ReportFailures` lists the failed
ones and raises, so that the exit status tells.
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

# names that public data sets (BraTS 2012 to 2023, MSD) give to a sequence: a part of the file name, in any case
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

    A folder that holds a `datalist.json` gives that list's `split`. In any other, every set of files that differ
    only in the name of the sequence is one case (`case1/case1_flair.nii.gz`, `case1/case1_t1ce.nii.gz`, ...), and every
    other NIfTI file is one case with the channels last.

    Args:
        folder: searched with its subfolders.
        channels: sequences in the order of the network's channels, names of `SEQUENCES` or parts of file names.
        split: key of the datalist, or several, one after the other.

    Returns:
        Items {"image": files, "case": name}; a file that is missing is listed under the name it should have.

    Raises:
        DataError: no such folder, or no volume in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; set dataset_dir to a folder of NIfTI volumes")
    if (root / "datalist.json").is_file():
        lists, listed = json.loads((root / "datalist.json").read_text()), []
        for key in ensure_tuple(split):
            if lists.get(key, True):  # monai's reader looks at the first item
                listed += load_list(root / "datalist.json", lists, key)
        return listed
    items = []
    for place in sorted({path.parent for path in root.rglob("*.nii*") if not path.name.startswith(".")}):
        items += _cases_in(place, root, channels)
    if not items:
        raise DataError(f"{root}: no NIfTI volumes (.nii, .nii.gz) in this folder; check dataset_dir")
    return items


def _cases_in(place: Path, root: Path, channels: Sequence[str]) -> list[dict[str, Any]]:
    # where channels are no sequences of the brain, their names tell nothing: p1_T1.nii.gz is a scan of its own
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
    items = [{"image": str(path), "case": volume_stem(path)} for path in plain]
    for template, files in cases.items():
        images = [files.get(name, place / template.replace("*", name.lower())) for name in channels]
        own_folder = len(cases) == 1 and not plain and place != root
        stem = volume_stem(template).replace("*", "").strip("-_.")
        items.append({"image": [str(image) for image in images], "case": place.name if own_folder else stem})
    return items


class VolumeDataset(IterableDataset):
    """Transformed items one by one; one that fails is logged, noted in `failures` and left out.

    Over several processes each takes every n-th item. Loading happens in the process itself (`num_workers` 0),
    where the failures are counted.

    Args:
        data: items; a bare file or list of files stands for {"image": it}. An item without "case" is named after
            its first file.
        transform: from an item with file names to an item with tensors.

    Raises:
        DataError: no item, or two with the same name (their results would overwrite each other).
    """

    def __init__(self, data: Sequence[Any], transform: Callable[[dict], dict]) -> None:
        if isinstance(data, str | Path):
            raise DataError(f"{data}: a list of items is needed here; for a folder, or its datalist, set dataset_dir")
        if not data:
            raise DataError("no volume to work on: the list of data is empty")
        self.items = [_named(item if isinstance(item, dict) else {"image": item}) for item in data]
        self.transform = transform
        self.failures: dict[str, str] = {}
        names = [item["case"] for item in self.items]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise DataError(f'several items have the case name {", ".join(double)}; give each its own "case"')

    def __iter__(self) -> Iterator[dict]:
        if get_worker_info() is not None:
            raise RuntimeError("VolumeDataset counts failures in its own process: set num_workers to 0")
        for item in self.items[idist.get_rank() :: idist.get_world_size()]:
            try:
                result = self.transform(item)
            except Exception as error:
                self.fail(item["case"], error)
            else:
                yield result

    def fail(self, case: str, error: BaseException) -> None:
        """Note that a case failed."""
        cause = root_cause(error)
        self.failures[case] = reason(cause)
        trace = None if isinstance(cause, UserError) else cause
        logger.error("%s failed: %s", case, self.failures[case], exc_info=trace)


def _named(item: dict[str, Any]) -> dict[str, Any]:
    return {"case": case_name(item, "image"), **item}


class GuardedIteration:
    """The `iteration_update` of an evaluator that goes on after a case failed in the network or when written.

    An evaluator with metrics stops at such a failure, for they need an output; it still goes on after a volume
    that could not be loaded.
    """

    def __init__(self, dataset: VolumeDataset) -> None:
        self.dataset = dataset

    def __call__(self, engine: Workflow, batch: dict[str, Any]) -> Any:
        """Run the evaluator's own iteration; the output is an empty list if it fails."""
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
    """Handler that raises `BatchError` at the end of the run if any case failed, on any process.

    Of several processes the first raises and the others end well, so that the list is there once: torchrun ends with
    status 1 if any process does.
    """

    def __init__(self, dataset: VolumeDataset) -> None:
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Gather the failures of all processes and raise on the first if there are any."""
        gathered = idist.all_gather(json.dumps(self.dataset.failures))
        failures: dict[str, str] = {}
        for part in [gathered] if isinstance(gathered, str) else gathered:
            failures |= json.loads(part)
        if failures and idist.get_rank() == 0:
            head = f"{len(failures)} of {len(self.dataset.items)} cases failed; the remaining cases were processed:"
            raise BatchError("\n  ".join([head, *(f"{case}: {why}" for case, why in sorted(failures.items()))]))


def check_writable(folder: PathLike) -> None:
    """Make the folder if needed and try to write in it, before hours are spent.

    Raises:
        UserError: it cannot be created or written to.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: cannot write to the output folder ({error.strerror}); set output_dir") from error
