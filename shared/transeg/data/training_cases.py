"""Which scans weights were trained on, so that they are not evaluated on these by mistake.

The preparation hashes the files of every scan; a training run keeps the hashes of its scans beside the weights, in
`models/training_cases.json`, and no names. What began from other weights has their scans as well.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike
from monai.utils import ensure_tuple

from transeg.data.datalist import load_list, read_json
from transeg.errors import DataError, listed
from transeg.files import case_name, digest_of_reference, write_text
from transeg.references import files_of

logger = logging.getLogger(__name__)

FILE = Path("models", "training_cases.json")
TRAINING, VALIDATION, TRANSDUCTIVE = "training", "validation", "transductive"
USES = {  # the gravest first; "weights were ... cases"
    TRAINING: "trained on",
    VALIDATION: "validated on",
    TRANSDUCTIVE: "trained on the images, without masks, of",
}
HASHES = "sha256"  # in the preparation of a datalist: of the images of each case
NAMED = 10  # cases in a message

Cases = dict[str, list[str]]  # hashes by use


def digests_of(item: Mapping[str, Any]) -> list[str]:
    """SHA-256 of each image of an item whose files exist, see `digest_of_reference`."""
    return [digest_of_reference(image) for image in ensure_tuple(item["image"]) if files_of(image)]


def prepared_cases(datalist: PathLike) -> Cases:
    """Hashes of the scans of prepared data by their use in training, "transductive" for test scans without masks."""
    path = Path(datalist)
    content = read_json(path)
    hashes = content.get("preparation", {}).get(HASHES, {})
    keys = [key for key, value in content.items() if isinstance(value, list)]
    volumes = {key: load_list(path, content, key) for key in keys if key.endswith("_volumes")}
    of_split = {
        split: {case_name(item, "image") for key in keys if key.startswith(split) for item in _items(content[key])}
        for split in (TRAINING, VALIDATION)
    }
    found: dict[str, set[str]] = {use: set() for use in USES}
    for key, items in volumes.items():
        for item in items:
            case = case_name(item, "image")
            use = next((use for use in (TRAINING, VALIDATION) if key.startswith(use)), None)
            if use is None and case in of_split[TRAINING]:
                use = TRANSDUCTIVE
            if use is not None:
                found[use] |= set(hashes.get(case) or digests_of(item))
    return _plain(found)


def _items(listed: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [item if isinstance(item, dict) else {"image": item} for item in listed]


def study_cases(training: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]]) -> Cases:
    """Hashes of scans that a run takes without a preparation."""
    lists = {TRAINING: training, VALIDATION: validation}
    return _plain({use: {digest for item in items for digest in digests_of(item)} for use, items in lists.items()})


def read_cases(root: PathLike) -> Cases | None:
    """Training cases of a bundle or run folder; None if they are not recorded."""
    path = Path(root) / FILE
    return json.loads(path.read_text()) if path.is_file() else None


def add_cases(root: PathLike, *parts: Cases | None) -> None:
    """Add training cases to those of a run folder; nothing if there are none."""
    every = [part for part in (read_cases(root), *parts) if part]
    if every:
        merged = _plain({use: {digest for part in every for digest in part.get(use, ())} for use in USES})
        write_text(Path(root) / FILE, json.dumps(merged, indent=1) + "\n")


def _plain(found: Mapping[str, Iterable[str]]) -> Cases:
    return {use: sorted(digests) for use, digests in found.items() if digests}


def uses_of(roots: Iterable[PathLike]) -> dict[str, str] | None:
    """Use by hash in the training of several weights, the gravest one; None if one of them has no record."""
    every = [read_cases(root) for root in roots]
    if any(cases is None for cases in every):
        return None
    pairs = [(use, digest) for use in reversed(USES) for cases in every for digest in (cases or {}).get(use, ())]
    return {digest: use for use, digest in pairs}


def use_in(uses: Mapping[str, str], digests: Iterable[str]) -> str:
    """The gravest use of a scan with these hashes; empty: none."""
    found = {uses[digest] for digest in digests if digest in uses}
    return next((use for use in USES if use in found), "")


def check_unseen(where: str, seen: Mapping[str, str], cases: int, force: bool, remedy: str) -> None:
    """Refuse cases that weights were trained on; other uses are told.

    Args:
        where: weights or masks that messages name.
        seen: use by case.
        cases: number of all cases.
        force: tell of the former too instead.
        remedy: what to do, for the message.

    Raises:
        DataError: a case was trained on.
    """
    for use, text in USES.items():
        named = sorted(case for case, found in seen.items() if found == use)
        if named:
            told = f"{where}: its weights were {text} {len(named)} of the {cases} cases: {listed(named, NAMED)}"
            if use == TRAINING and not force:
                raise DataError(f"{told}; scores on these say nothing about other scans: {remedy}")
            logger.warning("%s", told)


def unseen(
    items: Sequence[Mapping[str, Any]], datalist: PathLike, roots: Sequence[PathLike], force: bool = False
) -> list[dict[str, Any]]:
    """Items to evaluate weights on, each with how their training has seen it as "seen", empty if it has not.

    Args:
        items: scans, or slices of prepared data, whose preparation knows the hashes.
        datalist: that they are of.
        roots: bundles or run folders of the weights; nothing is checked if one of them has no record.
        force: allow items that were trained on.

    Raises:
        DataError: an item was trained on.
    """
    uses = uses_of(roots)
    if uses is None:
        logger.info("Which scans %s were trained on is not recorded.", ", ".join(map(str, roots)))
        return [{**item, "seen": ""} for item in items]
    hashes = read_json(datalist).get("preparation", {}).get(HASHES, {})
    found: list[dict[str, Any]] = []
    seen: dict[str, str] = {}
    for item in items:
        case = case_name(item, "image")
        prepared = str(ensure_tuple(item["image"])[0]).endswith(".npy")
        use = use_in(uses, hashes.get(case, ()) if prepared else digests_of(item))
        found.append({**item, "seen": use})
        seen |= {case: use} if use else {}
    cases = len({case_name(item, "image") for item in items})
    remedy = "evaluate on other cases, or set --force True to score them all the same"
    check_unseen(", ".join(map(str, roots)), seen, cases, force, remedy)
    return found
