"""Reference masks: of prepared data, of a table, or of a folder of masks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from monai.config import PathLike

from transeg.data.datalist import load_list, read_json, read_labelled
from transeg.data.names import LABEL, read_name
from transeg.data.recipe import Recipe, label_recipe, match_labels
from transeg.data.table import SPLITS, read_table
from transeg.data.training_cases import unseen
from transeg.data.volumes import TABLE
from transeg.errors import DataError
from transeg.files import case_name, volume_stem
from transeg.references import VOLUMES, suffix_of
from transeg.transforms.load import LoadVolumed
from transeg.transforms.preprocessing import label_loading

DATALIST = "datalist.json"
ONE = {"labels": ["background", "structure"]}  # of masks of which nothing is known


class Reference(NamedTuple):
    """A case with a reference mask."""

    case: str
    patient: str
    label: str
    spacing: Sequence[float] | None = None


def read_references(
    data: Path, split: str, recipe: Recipe | None, values: Mapping[str, Sequence[int]]
) -> tuple[list[Reference], Recipe]:
    """Cases with a reference mask, and how the masks are read.

    Args:
        data: prepared data, whose volumes of the split count; a table, or a folder with one, whose rows of the split
            count if it names any; or a folder of masks, which are named after their case, as in `case_mask.nii.gz`.
        split: "test" and so on, or the name of one list of volumes of a datalist.
        recipe: of the weights that made the masks, if known.
        values: of structures in the reference masks, by name; default as the data or else the weights say.

    Raises:
        DataError: no such data, no reference in them, or other structures than those of the weights.
    """
    datalist = data if data.name == DATALIST else data / DATALIST
    table = data if data.suffix.lower() == ".csv" else data / TABLE
    base = recipe or (
        dict(ONE) if not values else {"labels": ["background", *(n for n in values if n != "background")]}
    )
    if datalist.is_file():
        found = _of_datalist(datalist, split)
        base |= label_recipe(base, datalist) if recipe or not values else {}
    elif table.is_file():
        found = _of_table(table, split)
    elif data.is_dir():
        found = _of_folder(data)
    else:
        raise DataError(f"{data}: neither prepared data ({DATALIST}) nor a table ({TABLE}) nor a folder of masks")
    if values:
        names = ["background", *(name for name in values if name != "background")]
        base |= match_labels(base, names, values, "--labels")
    return found, base


def _of_datalist(path: Path, split: str) -> list[Reference]:
    content = read_json(path)
    keys = [key for key in content if key.startswith(split) and key.endswith("_volumes")]
    items = [item for key in keys for item in load_list(path, content, key)]
    labelled = [item for item in items if "label" in item]
    if not labelled:
        raise DataError(
            f"{path}: none of {len(items)} volumes of {split} has a reference mask; name another --split "
            f"({', '.join(SPLITS)}), or prepare test cases with masks"
        )
    patients = content.get("preparation", {}).get("patients", {})
    cases = {case_name(item, "image"): item for item in labelled}  # once, although in several lists
    return [
        Reference(case, patients.get(case, case), item["label"], item.get("spacing")) for case, item in cases.items()
    ]


def _of_table(path: Path, split: str) -> list[Reference]:
    cases = read_table(path)
    chosen = [case for case in cases if case.split == split] if any(case.split for case in cases) else cases
    found = [Reference(c.name, c.patient or c.name, c.label, c.spacing) for c in chosen if c.label]
    if not found:
        raise DataError(
            f"{path}: none of {len(chosen)} cases of {split} has a label; fill it in, or name another --split"
        )
    return found


def _of_folder(folder: Path) -> list[Reference]:
    files = [path for path in sorted(folder.iterdir()) if suffix_of(path) in VOLUMES]
    masks = [path for path in files if read_name(volume_stem(path)).role == LABEL]
    found: dict[str, Path] = {}
    for path in masks or files:  # where no name says so, all are masks
        case = read_name(volume_stem(path)).stem if masks else volume_stem(path)
        if case in found:
            raise DataError(
                f"{folder}: {found[case].name} and {path.name} are both of case {case}; list them in a table"
            )
        found[case] = path
    if not found:
        raise DataError(f"{folder}: no mask in it (NIfTI, NRRD, MHA); name prepared data, a table or a folder of masks")
    return [Reference(case, case, str(path)) for case, path in found.items()]


def scans_to_score(
    datalist: PathLike, split: str | Sequence[str], roots: Sequence[PathLike], force: bool = False
) -> list[dict[str, Any]]:
    """Items of a bundle's evaluation: with a label, their "patient" and how the training used them, as "seen".

    Args:
        datalist: of prepared data.
        split: one or several of its lists.
        roots: bundles or run folders of the weights.
        force: allow items that were trained on.

    Raises:
        DatalistError: no item has a label.
        DataError: an item was trained on.
    """
    items = unseen(read_labelled(datalist, split), datalist, roots, force)
    patients = read_json(datalist).get("preparation", {}).get("patients", {})
    cases = [case_name(item, "image") for item in items]
    return [{"patient": patients.get(case, case), **item} for case, item in zip(cases, items, strict=True)]


def read_classes(reference: Reference, recipe: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Classes uint8 (X, Y, Z) of a reference and its affine (4, 4).

    Raises:
        VolumeError: it cannot be read, or has unknown values.
    """
    label = label_loading(recipe, "label")({"label": reference.label, "spacing": reference.spacing})["label"]
    return label[0].numpy().astype(np.uint8), label.affine.numpy()


def read_mask(path: Path, reference: Reference, recipe: Mapping[str, Any]) -> np.ndarray:
    """Classes uint8 (X, Y, Z) of a written mask; of an only structure, any value above 0.

    Raises:
        VolumeError: it cannot be read, is not on the grid of the reference, or has unknown values.
    """
    several = len(recipe["labels"]) > 2
    item: dict[Hashable, Any] = {"mask": str(path), "label": reference.label, "spacing": reference.spacing}
    classes = range(len(recipe["labels"])) if several else None
    mask = LoadVolumed("mask", allowed_labels=classes, like="label", may_be_empty=True)(item)["mask"][0].numpy()
    return (mask if several else mask > 0).astype(np.uint8)
