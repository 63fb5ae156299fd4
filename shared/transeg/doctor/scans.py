"""The scans of a data set, prepared or described by a table, with the splits and domains that they are used in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from monai.utils import ensure_tuple

from transeg.data.datalist import load_list, read_json
from transeg.data.names import SEQUENCES, read_name
from transeg.data.recipe import Recipe
from transeg.data.table import SPLITS, Case, Presence, read_table, table_channels
from transeg.data.volumes import TABLE
from transeg.errors import DataError, DatalistError
from transeg.method import Method, find_method

DATALIST = "datalist.json"
PRESENCE, ABSENCE = "presence", "absence"  # domains that nothing else names


class Use(NamedTuple):
    """A slice or volume in one of the lists."""

    split: str
    domain: str
    unit: int  # slice of the stack; 0 of a volume
    labelled: bool


@dataclass(frozen=True)
class Scan:
    """A stack of slices, or the volumes of a case.

    Attributes:
        case: its name.
        patient: name of the patient; default the case.
        images: reference of the stack, or of each channel.
        label: reference of the mask, whether or not training reads it.
        uses: where it is used.
        source: reference of the original file, if known.
        presence: what a table says.
        group: stratum of the splits.
        spacing: voxel size in mm of slices, which do not hold it.
        problem: what is wrong with its row.
    """

    case: str
    patient: str
    images: tuple[str, ...]
    label: str | None
    uses: tuple[Use, ...]
    source: str | None = None
    presence: Presence | None = None
    group: str = ""
    spacing: tuple[float, ...] | None = None
    problem: str = ""

    @property
    def is_stack(self) -> bool:
        """Whether it is a stack of prepared slices or volumes."""
        return self.images[0].endswith(".npy")

    def splits(self) -> list[str]:
        """Splits that it is used in."""
        return sorted({use.split for use in self.uses})

    def units(self, domain: str, split: str = "training") -> list[int]:
        """Slices used in a domain and split."""
        return [use.unit for use in self.uses if use.domain == domain and use.split == split]


@dataclass(frozen=True)
class DataSet:
    """All scans, and what is known about them as a whole.

    Attributes:
        path: datalist or table.
        scans: all of them.
        domains: names of those that a translation is between; one or two.
        channels: names.
        labels: names by value of the masks, background first; empty: any values.
        of_cases: whether a case as a whole is of one domain, rather than each of its slices.
        contrasts: whether the domains are modalities or sequences, whose intensities differ by nature.
        split: whether splits are known.
        recipe: of prepared data, else empty.
        method: of prepared data.
        preparation: what the preparation recorded.
    """

    path: Path
    scans: Sequence[Scan]
    domains: tuple[str, ...]
    channels: tuple[str, ...]
    labels: tuple[str, ...] = ()
    of_cases: bool = True
    contrasts: bool = False
    split: bool = True
    recipe: Recipe = field(default_factory=dict)
    method: Method | None = None
    preparation: Mapping[str, Any] = field(default_factory=dict)


def read_data(path: Path) -> DataSet:
    """Read a folder of prepared data, a table of cases, or the folder of one.

    Raises:
        DataError: neither, or a datalist or table that cannot be used.
    """
    datalist = path if path.name == DATALIST else path / DATALIST
    if datalist.is_file():
        return _prepared(datalist)
    table = path if path.suffix.lower() == ".csv" else path / TABLE
    if table.is_file():
        return _table(table)
    raise DataError(f"{path}: neither prepared data ({DATALIST}) nor a table ({TABLE}); make one with data_prep.table")


def _prepared(path: Path) -> DataSet:
    content = read_json(path)
    if "recipe" not in content:
        raise DatalistError(f"{path}: no recipe in it; prepare the data with data_prep")
    recipe: Recipe = content["recipe"]
    try:
        method = find_method(recipe["method"])
    except (LookupError, KeyError) as error:
        raise DatalistError(f"{path}: {error.args[0]}; prepare the data again") from error
    preparation = content.get("preparation", {})
    suffixes = {name.removeprefix("training"): name for name in method.lists_of(recipe)}
    keys = {key: _place(key, list(suffixes)) for key, value in content.items() if isinstance(value, list)}
    originals = {
        str(item["case"]): item
        for key in keys
        if key.endswith("_volumes")
        for item in load_list(path, content, key)
        if "case" in item
    }
    names = _domain_names(list(suffixes), content, originals, method.domain_of_case)
    found: dict[tuple[str, ...], list[tuple[Mapping[str, Any], Use]]] = {}
    for key, place in keys.items():
        if place is None:
            continue
        split, suffix = place
        for item in load_list(path, content, key):
            use = Use(split, names[suffix], int(item.get("index", 0)), "label" in item)
            found.setdefault(tuple(map(str, ensure_tuple(item["image"]))), []).append((item, use))
    scans = [_stack(images, uses, originals, preparation) for images, uses in found.items()]
    if not scans:
        raise DatalistError(f"{path}: all of its lists are empty; prepare the data again")
    return DataSet(
        path,
        scans,
        tuple(names.values()),
        tuple(recipe["channels"]),
        tuple(recipe["labels"]),
        of_cases=method.domain_of_case and all(len({use.domain for use in scan.uses}) == 1 for scan in scans),
        contrasts="domains" in recipe,
        recipe=recipe,
        method=method,
        preparation=preparation,
    )


def _place(key: str, suffixes: Sequence[str]) -> tuple[str, str] | None:
    """Split and suffix of the domain that a list is of; None of other lists, such as those of whole volumes."""
    for suffix in sorted(suffixes, key=len, reverse=True):
        if key.endswith(suffix) and not key.endswith("_volumes"):
            return key.removesuffix(suffix), suffix
    return None


def _domain_names(
    suffixes: Sequence[str], content: Mapping[str, Any], originals: Mapping[str, Any], of_cases: bool
) -> dict[str, str]:
    """Name of the domain of each suffix: the only one that its cases state, or else what the suffix says."""
    names = {}
    for suffix in suffixes:
        cases = {str(item.get("case")) for item in content.get(f"training{suffix}", ()) if isinstance(item, dict)}
        stated = {originals.get(case, {}).get("domain") for case in cases} if of_cases else set()
        only = stated.pop() if len(stated) == 1 else None
        names[suffix] = only or suffix.strip("_") or PRESENCE
    return names if len(set(names.values())) == len(names) else {name: name.strip("_") or PRESENCE for name in suffixes}


def _stack(
    images: tuple[str, ...],
    uses: Sequence[tuple[Mapping[str, Any], Use]],
    originals: Mapping[str, Mapping[str, Any]],
    preparation: Mapping[str, Any],
) -> Scan:
    item = uses[0][0]
    case = str(item.get("case", Path(images[0]).stem))
    original = originals.get(case, {})
    label = next((str(item["label"]) for item, _ in uses if "label" in item), None)
    beside = Path(images[0]).parent.parent / "labels" / Path(images[0]).name
    return Scan(
        case,
        str(item.get("patient") or preparation.get("patients", {}).get(case) or case),
        images,
        label or (str(beside) if beside.is_file() else None),
        tuple(use for _, use in uses),
        source=str(ensure_tuple(original["image"])[0]) if original else None,
        group=preparation.get("groups", {}).get(case, ""),
        spacing=original.get("spacing"),
    )


def _table(path: Path) -> DataSet:
    cases = read_table(path)
    channels = tuple(table_channels(cases))
    stated = sorted({case.domain for case in cases if case.domain})
    domains = tuple(stated) if stated else _of_presence(cases)
    scans = []
    for case in cases:
        domain = case.domain or (ABSENCE if case.presence is False else PRESENCE)
        missing = case.missing(channels) if not stated else []  # modalities have columns of their own
        scans.append(
            Scan(
                case.name,
                case.patient or case.name,
                tuple(case.images.values()),
                case.label,
                (Use(case.split or "training", domain, 0, case.label is not None),),
                source=next(iter(case.images.values()), None),
                presence=case.presence,
                group=case.group,
                spacing=case.spacing,
                problem=f"lacks {', '.join(missing)}" if missing else "",
            )
        )
    contrasts = len(domains) == 2 and all(
        read_name(name).modality or read_name(name).role in SEQUENCES for name in domains
    )
    split = bool({case.split for case in cases} & set(SPLITS[1:]))
    return DataSet(path, scans, domains, channels, of_cases=True, contrasts=contrasts, split=split)


def _of_presence(cases: Sequence[Case]) -> tuple[str, ...]:
    """Cases without the disease are a domain of their own only if others show it throughout, or it is not known where.

    A case with ranges of slices or a mask gives slices of both.
    """
    absent = any(case.presence is False for case in cases)
    return (PRESENCE, ABSENCE) if absent else (PRESENCE,)
