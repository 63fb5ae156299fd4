"""Read a case to export: the image as in its files, the mask in the classes of the data set, and what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from monai.utils import ensure_tuple
from scipy.stats import entropy

from transeg.data.names import canonical
from transeg.data.training_cases import digests_of
from transeg.errors import DataError
from transeg.export.sources import Case
from transeg.transforms.load import LoadVolumed
from transeg.transforms.preprocessing import label_loading
from transeg.transforms.read import read_volume

WHOLE = (np.uint8, np.int16, np.uint16)  # voxel types for images of whole numbers, the first that holds them


class Volumes(NamedTuple):
    """A case that is read, on one grid."""

    image: np.ndarray  # (C, X, Y, Z)
    label: np.ndarray  # uint8 (X, Y, Z), class of the data set
    doubtful: np.ndarray | None  # bool (X, Y, Z); None: how certain the mask is, is not known
    affine: np.ndarray  # (4, 4), RAS


class Names(NamedTuple):
    """What all cases of a data set share."""

    channels: tuple[str, ...]
    labels: tuple[str, ...]  # background first


def shared_names(cases: Sequence[Case]) -> Names:
    """Channels and labels of the first case, with which those of all others must agree.

    Channels may be in another order, and an only channel or structure may have another name.

    Raises:
        DataError: they do not agree; the message names both folders.
    """
    first = cases[0]
    names = Names(tuple(first.recipe["channels"]), tuple(first.recipe["labels"]))
    for case in cases:
        for kind, read in (("channels", _channel_order), ("structures", _class_order)):
            try:
                read(case, names)
            except LookupError:
                own, other = (
                    each.recipe["channels"] if kind == "channels" else each.recipe["labels"][1:]
                    for each in (case, first)
                )
                raise DataError(
                    f"{case.source}: {kind} {', '.join(own)}, but {first.source} has {', '.join(other)}; export them "
                    "as data sets of their own"
                ) from None
    return names


def _channel_order(case: Case, names: Names) -> list[int]:
    """Place of each channel of the data set in the files of a case."""
    own = [canonical(name) for name in case.recipe["channels"]]
    wanted = [canonical(name) for name in names.channels]
    if len(own) != len(wanted):
        raise LookupError
    return [0] if len(own) == 1 else _places(wanted, own)


def _class_order(case: Case, names: Names) -> list[int]:
    """Class in the data set of each class of a case."""
    own, wanted = list(case.recipe["labels"]), list(names.labels)
    if len(own) != len(wanted):
        raise LookupError
    return [0, 1] if len(own) == 2 else [0, *(1 + place for place in _places(own[1:], wanted[1:]))]


def _places(names: Sequence[str], among: Sequence[str]) -> list[int]:
    if not {*names} <= {*among}:
        raise LookupError
    return [among.index(name) for name in names]


def read_case(case: Case, names: Names, confidence: float) -> Volumes:
    """Read the image and the mask of a case, and check that they belong together.

    Args:
        case: to read.
        names: of the data set, see `shared_names`.
        confidence: a voxel of a predicted mask is doubtful if its class has a smaller probability.

    Raises:
        DataError: a file is missing, unreadable, on another grid, or has changed since it was segmented.
    """
    if case.problem:
        raise DataError(case.problem)
    loaded = LoadVolumed("image", len(names.channels))(case.item)
    if case.checked and tuple(digests_of(case.item)) != case.digests:
        files = ", ".join(ensure_tuple(case.item["image"]))
        raise DataError(f"{files}: has changed since it was segmented; segment the case again")
    item = label_loading(case.recipe, "label", like="image")(loaded)
    label = item["label"][0].numpy().astype(np.uint8)
    image = item["image"].numpy()[_channel_order(case, names)]
    known = case.maps and confidence > 0
    doubtful = doubtful_voxels(label, case.maps, len(case.recipe["labels"]), confidence) if known else None
    return Volumes(image, np.array(_class_order(case, names), np.uint8)[label], doubtful, item["image"].affine.numpy())


def doubtful_voxels(label: np.ndarray, maps: Mapping[str, Path], classes: int, confidence: float) -> np.ndarray:
    """Voxels of a predicted mask whose class has a smaller probability than `confidence`.

    Without probabilities, by the uncertainty: voxels whose entropy is above that of two classes of which one has this
    probability. Of an only structure, that is the same; of several, it may be more voxels.

    Args:
        label: uint8 (X, Y, Z), the class of each voxel.
        maps: file of "prob" or "uncertainty".
        classes: their number, with the background.
        confidence: from 0 to 1.

    Returns:
        bool (X, Y, Z).

    Raises:
        DataError: a map on another grid than the mask.
    """
    name = "prob" if "prob" in maps else "uncertainty"
    volume = read_volume(str(maps[name])).numpy()
    channels = classes if name == "prob" and classes > 2 else 1
    if volume.shape != (channels, *label.shape):
        raise DataError(f"{maps[name]}: shape {volume.shape}, but {(channels, *label.shape)} belongs to the mask")
    if name == "uncertainty":
        least = max(confidence, 0.5)
        return np.asarray(np.log2(classes) * volume[0] > entropy([least, 1 - least], base=2))
    if channels == 1:
        return np.where(label > 0, volume[0], 1 - volume[0]) < confidence
    return np.take_along_axis(volume, label[None].astype(np.intp), axis=0)[0] < confidence


def voxel_type(voxels: np.ndarray) -> type[np.generic]:
    """The smallest type of `WHOLE` that holds all voxels as they are, else float32."""
    low, high = voxels.min(), voxels.max()
    fits = (kind for kind in WHOLE if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    kind = next(fits, None)
    return np.float32 if kind is None or (voxels != np.round(voxels)).any() else kind
