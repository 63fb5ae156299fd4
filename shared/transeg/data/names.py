"""What the name of a file says: the role of a volume in its case, and the name of the case.

A name is split into words at any character but letters and digits. The last known word decides the role; what is left
of the name without the words of its role is the stem, which the files of a case share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

T = TypeVar("T")

LABEL, FOREGROUND, OUTPUT, IMAGE = "label", "foreground", "output", "image"
# sequences by channel, as files and DICOM series are named; of brain MR: BraTS 2012 to 2024, MSD, BIDS
SEQUENCES = {
    "flair": ("flair", "t2f", "t2flair"),
    "t1c": ("t1c", "t1ce", "t1gd", "t1post", "t1gad", "t1km", "t1wce", "t1cw"),
    "t1": ("t1", "t1n", "t1w"),
    "t2": ("t2", "t2w"),
    "t2star": ("t2star", "t2starw"),
    "pd": ("pd", "pdw"),
    "dwi": ("dwi",),
    "adc": ("adc",),
    "swi": ("swi",),
    "bold": ("bold",),
    "c0": ("c0", "bssfp"),
    "lge": ("lge",),
    "pre": ("pre",),
    "post": ("post",),
}
MODALITIES = {"ct": "ct", "cta": "ct", "mr": "mr", "mri": "mr", "pet": "pet"}
_CHANNELS = {word: channel for channel, words in SEQUENCES.items() for word in words}
_CONTRAST = {"c", "ce", "gd", "gad", "gadolinium", "km", "cm", "post", "postcontrast", "contrast"}
_LABELS = {"seg", "segm", "dseg", "segmentation", "segmentations", "label", "labels", "lbl", "mask", "masks", "manual"}
_LABELS |= {"gt", "groundtruth", "roi", "annotation", "annotations", "ot", "otmulticlass"}
_FOREGROUNDS = {"brainmask", "bodymask", "headmask", "foreground"}
_REGIONS = {"brain", "body", "head"}  # their mask shows where to look, not what to find
_OUTPUTS = {"prob", "translation", "fatfraction"}
_IMAGES = {"image", "images", "img", "imgs", "scan", "scans", "volume", "volumes"}
_SETS = re.compile(r"(tr|ts|va|val|train|test)$")  # imagesTr, labelsTs


class Name(NamedTuple):
    """Parsed name. Without a known word, the role is ""."""

    role: str  # a channel of `SEQUENCES`, "image", "label", "foreground" or "output"
    stem: str
    modality: str = ""  # of `MODALITIES`; its word stays in the stem


def read_name(name: str, words: Sequence[str] = ()) -> Name:
    """Parse the name of a volume without its suffix.

    Args:
        name: such as "P1_T2_FLAIR"; role "flair", stem "P1".
        words: further words that belong to the role rather than to the stem.
    """
    parts = re.split(r"([^\W_]+)", name)  # separators at even places, words at odd ones
    lower = [part.lower() for part in parts]
    places = range(1, len(parts), 2)
    modality = next((MODALITIES[lower[i]] for i in places if lower[i] in MODALITIES), "")
    role, used = _role(lower, list(places))
    used |= {i for i in places if lower[i] in words}
    kept = [part for i, part in enumerate(parts) if i not in used]
    stem = re.sub(r"([-_.+ ])[-_.+ ]+", r"\1", "".join(kept)).strip("-_.+ ")
    return Name(role, stem, modality)


def _role(words: Sequence[str], places: Sequence[int]) -> tuple[str, set[int]]:
    """Role, and the places of its words."""
    labels = {i for i in places if words[i] in _LABELS}
    regions = {i - 2 for i in labels if i > 1 and words[i - 2] in _REGIONS}
    foregrounds = {i for i in places if words[i] in _FOREGROUNDS}
    outputs = {i for i in places if words[i] in _OUTPUTS}
    channel, used = _channel(words, places)
    if outputs:
        return OUTPUT, outputs
    if foregrounds or regions:
        return FOREGROUND, used | labels | regions | foregrounds
    if labels:
        return LABEL, used | labels
    images = {i for i in places if words[i] in ("image", "images", "img")}
    return channel or (IMAGE if images else ""), used | images


def _channel(words: Sequence[str], places: Sequence[int]) -> tuple[str, set[int]]:
    """The last sequence, with what qualifies it: T2 of T2-FLAIR, and the contrast agent of a T1."""
    found = [i for i in places if words[i] in _CHANNELS]
    named = [i for i in found if words[i] not in ("pre", "post")] or found
    if not named:
        return "", set()
    last = named[-1]
    channel, used = _CHANNELS[words[last]], {last}
    beside = {_CHANNELS[words[i]]: i for i in (last - 2, last + 2) if i in named}
    if {channel, *beside} >= {"flair", "t2"}:
        return "flair", {last, beside["t2" if channel == "flair" else "flair"]}
    if channel in ("t1", "t1c"):
        agents = {i for i in places if words[i] in _CONTRAST}
        before = {i for i in places if words[i] == "pre"}
        return ("t1c" if agents else channel), used | agents | before
    return channel, used


def folder_role(name: str) -> str:
    """Role of all volumes of a folder whose name consists of words of that role ("labelsTr", "FLAIR"), else ""."""
    word = _SETS.sub("", name.lower()).strip("-_. ")
    if word in _IMAGES:
        return IMAGE
    if word in _LABELS:
        return LABEL
    parsed = read_name(name)
    return "" if parsed.stem else parsed.role


def canonical(channel: str) -> str:
    """Common name of a channel, in lower case: T1w and t1 are t1, T1ce is t1c; other names stay."""
    name = read_name(channel)
    return name.role if name.role in SEQUENCES and not name.stem else channel.lower()


def shown_part(parts: Sequence[T], channels: Sequence[str]) -> tuple[T, int]:
    """Which part of a scan, a file of each channel or one of all, pictures show, and its channel there."""
    channel = shown_channel(channels)
    return (parts[channel], 0) if len(parts) > 1 else (parts[0], channel)


def shown_channel(channels: Sequence[str]) -> int:
    """Which of a scan's channels pictures show: FLAIR, where most lesions of the brain are seen best, or the first."""
    names = [canonical(name) for name in channels]
    return names.index("flair") if "flair" in names else 0
