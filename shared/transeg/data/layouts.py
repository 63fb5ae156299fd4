"""How public data sets name and arrange their files: small readers, tried in turn before the general rules.

A reader takes a volume and returns its parts, one for each channel; none if the data set has no use for it, such as an
image derived from another one. It returns None for a volume that is not of its data set.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transeg.data.names import FOREGROUND, IMAGE, LABEL, OUTPUT, canonical, read_name
from transeg.data.sources import Volume
from transeg.files import volume_stem
from transeg.references import VOLUMES, suffix_of

# patient in the name of a case: BraTS 2023 and 2024, BRATS 2013 and 2015, TCGA; else the whole name
PATIENT = re.compile(r"BraTS-\w+-\d{5}|.*_pat\d+|TCGA[-_]\w\w[-_]\w{4}|.+", re.DOTALL)
GRADES = {
    "healthy": "healthy",
    "minor": "minor",
    "moderate": "moderate",
    "severe": "severe",
    "hgg": "HGG",
    "lgg": "LGG",
}


class Part(NamedTuple):
    """What a volume, or one channel of it, is to a case. Parts of equal place, stem and study are of one case."""

    place: Path  # folder that stands for the case, or holds it
    stem: str  # name of the case within the place; "": it is named after the place
    role: str  # channel, "label" or "foreground"
    reference: str
    patient: str = ""  # "": by the name of the case
    domain: str = ""
    study: str = ""
    fixed: bool = True  # a layout says so, rather than the general rules

    @property
    def key(self) -> tuple[Path, str, str]:
        """The same for all parts of a case."""
        return self.place, self.stem, self.study


Layout = Callable[[Volume], list[Part] | None]


def layouts(root: Path, files: Iterable[Path]) -> list[Layout]:
    """Readers for the data sets below a folder; the files tell which there are.

    A `dataset.json` beside the folder counts as well, since `imagesTs` of a data set is a common input.
    """
    readers: list[Layout] = []
    above = Path(os.path.abspath(root)).parent / "dataset.json"
    for path in [above, *sorted(path for path in files if path.name == "dataset.json")]:
        readers += _dataset_json(path, root)
    readers += [*_numbered_channels(files), _bids(root), _lits(files)]
    return [*readers, _kaggle, _brats_2013, _sarcoma, _cardiac_contrasts, _mmwhs]


def group_of(path: Path, case: str, grades: Mapping[str, str]) -> str:
    """Stratum of a case: its grade by table, or the name of the nearest folder that is one."""
    above = (part.lower() for part in path.parts[::-1])
    return grades.get(case) or next((GRADES[part] for part in above if part in GRADES), "")


def read_grades(files: Iterable[Path]) -> dict[str, str]:
    """Grade by case from the `name_mapping.csv` of BraTS 2020, which replaces folders named after grades."""
    grades: dict[str, str] = {}
    for path in (path for path in files if path.name == "name_mapping.csv"):
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            for row in csv.DictReader(file):
                grades |= {name: row.get("Grade") or "" for name in row.values() if isinstance(name, str) and name}
    return grades


def _dataset_json(path: Path, root: Path) -> list[Layout]:
    """Medical Segmentation Decathlon ("modality", "training") and nnU-Net ("channel_names", "file_ending")."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names = content.get("channel_names") or content.get("modality") or {}
        channels = [_channel(names[number]) for number in sorted(names, key=int)]
    except (OSError, ValueError, AttributeError, TypeError):
        return []  # none, or another kind of dataset.json
    if not channels:
        return []
    folder = Path(os.path.abspath(path.parent))
    place = path.parent if path.is_relative_to(root) else root
    if "file_ending" in content:
        return [_nnunet(folder, place, channels, str(content["file_ending"]))]
    return [_decathlon(folder, place, channels, content)] if "training" in content else []


def _channel(name: Any) -> str:
    """Name of a channel that can head a column."""
    text = canonical(str(name).strip())
    return re.sub(r"\W+", "_", text).strip("_") or IMAGE


def _decathlon(folder: Path, place: Path, channels: Sequence[str], content: Mapping[str, Any]) -> Layout:
    roles: dict[Path, tuple[str, str]] = {}  # role and case by file

    def add(entry: Any, role: str, case: str) -> None:
        path = folder / str(entry)
        for found in (path, path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")):
            roles[found] = role, case

    for item in [*content["training"], *content.get("test", ())]:
        image = item["image"] if isinstance(item, dict) else item
        case = _stem(str(image))
        add(image, IMAGE, case)
        if isinstance(item, dict) and "label" in item:
            add(item["label"], LABEL, case)

    def read(volume: Volume) -> list[Part] | None:
        role, case = roles.get(Path(os.path.abspath(volume.path)), ("", ""))
        if not role:
            return None
        if role == LABEL:
            return [Part(place, case, LABEL, str(volume.path))]
        if len(channels) == 1:
            return [Part(place, case, channels[0], str(volume.path))]
        return [Part(place, case, name, f"{volume.path}#{k}") for k, name in enumerate(channels)]

    return read


def _stem(path: str) -> str:
    return re.sub(r"(\.nii)?(\.gz)?$", "", path.replace("\\", "/").rpartition("/")[2])


def _nnunet(folder: Path, place: Path, channels: Sequence[str], ending: str) -> Layout:
    def read(volume: Volume) -> list[Part] | None:
        inner, name = Path(os.path.abspath(volume.path.parent)), volume.path.name
        if inner.parent != folder or not name.endswith(ending):
            return None
        stem, kind = name.removesuffix(ending), inner.name
        if kind.startswith("labels"):
            return [Part(place, stem, LABEL, str(volume.path))]
        number = re.fullmatch(r"(.+)_(\d{4})", stem)
        if not kind.startswith("images") or number is None or int(number[2]) >= len(channels):
            return None
        return [Part(place, number[1], channels[int(number[2])], str(volume.path))]

    return read


def _numbered_channels(files: Iterable[Path]) -> list[Layout]:
    """Scans of nnU-Net without `dataset.json`: channels by number, an only one is the image."""
    numbers: dict[Path, dict[str, set[str]]] = {}
    for path in (path for path in files if path.parent.name.startswith("images") and suffix_of(path) in VOLUMES):
        stem, _, number = volume_stem(path).rpartition("_")
        numbers.setdefault(path.parent, {}).setdefault(stem, set()).add(number)
    folders = {folder for folder, stems in numbers.items() if len(stems) > 1 and all(map(_from_zero, stems.values()))}

    def read(volume: Volume) -> list[Part] | None:
        folder = volume.path.parent
        if folder not in folders:
            return None
        stem, _, number = volume.name.rpartition("_")
        role = IMAGE if max(map(len, numbers[folder].values())) == 1 else f"channel{int(number)}"
        return [Part(folder.parent, stem, role, str(volume.path))]

    return [read] if folders else []


def _from_zero(numbers: set[str]) -> bool:
    return "0000" in numbers and all(re.fullmatch(r"\d{4}", number) for number in numbers)


def _bids(root: Path) -> Layout:
    """`sub-01[_ses-1][_ce-gadolinium]_T1w`; masks, also of derivatives, go by subject and session."""

    def read(volume: Volume) -> list[Part] | None:
        name = re.match(r"(sub-[A-Za-z0-9]+)(_ses-[A-Za-z0-9]+)?_(.+)", volume.name)
        if name is None:
            return None
        subject, session, rest = name[1], name[2] or "", name[3]
        role = read_name(rest).role or IMAGE
        if role == OUTPUT:
            return None
        if role not in (LABEL, FOREGROUND):
            derived = "derivatives" in volume.path.relative_to(root).parts
            return [] if derived else [Part(place(volume), subject + session, role, str(volume.path), subject)]
        if re.search(r"space-(?!orig)", rest):
            return []
        role = FOREGROUND if "desc-brain" in rest else role
        return [Part(place(volume), subject + session, role, str(volume.path), subject)]

    def place(volume: Volume) -> Path:
        """Folder above the first one of a subject or of derivatives, else that of the file."""
        parts = volume.path.relative_to(root).parts[:-1]
        inner = (i for i, part in enumerate(parts) if part.startswith("sub-") or part == "derivatives")
        return root.joinpath(*parts[: next(inner, len(parts))])

    return read


def _kaggle(volume: Volume) -> list[Part] | None:
    """TCGA-LGG as `kaggle_3m`: slices whose colours are the sequences before contrast, FLAIR and after contrast."""
    name = re.fullmatch(r"(TCGA_\w\w_\w{4}_\d{8})_\*(_mask)?\.tiff?", volume.path.name)
    if name is None:
        return None
    place, reference = volume.path.parent, str(volume.path)
    if name[2]:
        return [Part(place, name[1], LABEL, reference)]
    return [Part(place, name[1], channel, f"{reference}#{k}") for k, channel in enumerate(("t1", "flair", "t1c"))]


def _brats_2013(volume: Volume) -> list[Part] | None:
    """BRATS 2013 and 2015: a folder for each sequence in that of the patient."""
    name = re.match(r"VSD\.Brain.*\.(MR_)?(Flair|T1c|T1|T2|OT)\.\d+$", volume.name)
    if name is None:
        return None
    own = volume.path.parent.name.startswith("VSD.Brain")
    place = volume.path.parent.parent if own else volume.path.parent
    return [Part(place, "", LABEL if name[2] == "OT" else name[2].lower(), str(volume.path))]


def _sarcoma(volume: Volume) -> list[Part] | None:
    """Soft-tissue sarcoma of IBSI: modalities on grids of their own, so that each is a case."""
    place = volume.path.parent
    name = re.fullmatch(r"(CT|MR|PET)(_\w+)?_(image|mask)", volume.name)
    if name is None or not re.fullmatch(r"STS_\d+", place.name):
        return None
    role = LABEL if name[3] == "mask" else IMAGE
    return [Part(place, f"{place.name}_{name[1]}", role, str(volume.path), place.name, name[1].lower())]


def _cardiac_contrasts(volume: Volume) -> list[Part] | None:
    """MS-CMRSeg: contrasts on grids of their own; the same number is the same patient."""
    name = re.fullmatch(r"(patient\d+)_(C0|LGE|T2)(_manual)?", volume.name)
    if name is None:
        return None
    role = LABEL if name[3] else IMAGE
    return [Part(volume.path.parent, f"{name[1]}_{name[2]}", role, str(volume.path), name[1], name[2].lower())]


def _mmwhs(volume: Volume) -> list[Part] | None:
    """MM-WHS: CT and MR of different patients, in spite of their numbers."""
    name = re.fullmatch(r"((ct|mr)_(?:train|test)_\d+)_(image|label)", volume.name, re.IGNORECASE)
    if name is None:
        return None
    role = LABEL if name[3].lower() == "label" else IMAGE
    return [Part(volume.path.parent, name[1], role, str(volume.path), name[1], name[2].lower())]


def _lits(files: Iterable[Path]) -> Layout:
    """LiTS: `volume-N` and `segmentation-N`, not always in the same folder; the segmentation also tells the liver."""
    numbers = re.compile(r"(volume|segmentation)-(\d+)", re.IGNORECASE)
    folders: dict[str, set[Path]] = {}
    for path in files:
        name = numbers.match(path.name)
        if name is not None:
            folders.setdefault(name[0].lower(), set()).add(path.parent)

    def read(volume: Volume) -> list[Part] | None:
        name = numbers.fullmatch(volume.name)
        if name is None:
            return None
        stem, own = f"volume-{name[2]}", volume.path.parent
        roles = (LABEL, FOREGROUND) if name[1].lower() == "segmentation" else ("ct",)
        scans = folders.get(stem, set())
        # the label lies beside its scan, or is the only one of its number
        place = own if own in scans or len(scans) != 1 else next(iter(scans))
        return [Part(place, stem, role, str(volume.path)) for role in roles]

    return read
