"""The recipe: how volumes became what a network sees. Written by the preparation, read by training and inference.

A small mapping: "method", "channels" (names in order), "image_size" (voxels of a whole slice or volume), "pixdim" (mm),
"labels" (names, background first), "familiarity" (what the training scans are like, see
`transeg.transforms.familiarity`), "spacing" (mm, of slices, whose files do not hold it) and what else the preparation
of a method decides. It lies in the datalist of prepared data and in `inference.json` beside the weights.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.config import PathLike

from transeg.errors import DataError, UserError

logger = logging.getLogger(__name__)

Recipe = dict[str, Any]
OF_THE_SCANS = ("familiarity", "spacing")  # what only holds for the scans themselves
# what other data leave at its default if they do not say it
OF_THE_DATA = (*OF_THE_SCANS, "axis", "crop", "foreground", "normalise", "window", "halves")


def load_recipe(datalist: PathLike, bundle_root: PathLike) -> Recipe:
    """Recipe of prepared data; where there is none, that of the bundle, by which whole studies are then prepared.

    Args:
        datalist: of the prepared data; may be missing.
        bundle_root: folder of a bundle, or of a training run.

    Raises:
        DataError: data prepared for another method than the bundle's.
    """
    own = bundle_recipe(bundle_root)
    path = Path(datalist)
    if not path.is_file():
        return own
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig")).get("recipe")
    except (ValueError, AttributeError):
        return own  # reading its lists tells what is wrong with it
    if found is None:
        own = _without(own, OF_THE_SCANS)
        logger.warning("%s: no recipe in it; assuming that of %s: %s", path, bundle_root, own)
        return own
    if found["method"] != own["method"]:
        raise DataError(
            f"{path}: prepared for the method {found['method']}, but {bundle_root} is one of {own['method']}; prepare "
            "the data with the command that its model card names"
        )
    return _without(own, OF_THE_DATA) | found


def label_recipe(recipe: Mapping[str, Any], datalist: PathLike) -> Recipe:
    """How to read label files of prepared data as classes of the weights: "labels" of the weights, "label_values" of
    the data, which know what their files hold.

    An only structure may have another name in the data; several go by name. Data that do not say what their values
    mean are read as those of the weights were.

    Args:
        recipe: of the weights.
        datalist: of the prepared data.

    Raises:
        DataError: a structure of the data that the weights do not have.
    """
    try:
        found = json.loads(Path(datalist).read_text(encoding="utf-8-sig"))["recipe"]
        names, values = list(found["labels"]), dict(found["label_values"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"labels": list(recipe["labels"]), "label_values": recipe.get("label_values")}
    return match_labels(recipe, names, values, str(datalist))


def match_labels(recipe: Mapping[str, Any], names: Sequence[str], values: Mapping[str, Any], where: str) -> Recipe:
    """As `label_recipe`, for names of labels, background first, and their values in files.

    Args:
        recipe: of the weights.
        names: of the labels.
        values: of each name.
        where: what has these labels, for the message.

    Raises:
        DataError: see `label_recipe`.
    """
    labels = list(recipe["labels"])
    if len(names) == len(labels) == 2:
        renamed = dict(zip(names, labels, strict=True))
        return {"labels": labels, "label_values": {renamed.get(name, name): held for name, held in values.items()}}
    unknown = [name for name in names if name not in labels]
    if unknown:
        raise DataError(
            f"{where}: its labels are {', '.join(names[1:])}, but the weights segment {', '.join(labels[1:])}; "
            "evaluate with weights trained on these labels, or prepare the data with those of the weights"
        )
    return {"labels": labels, "label_values": dict(values)}


def parse_labels(texts: Sequence[str]) -> dict[str, list[int]]:
    """Values by name of the structure, from NAME=VALUE,... each.

    Raises:
        UserError: not of this form, or a value of two structures.
    """
    found: dict[str, list[int]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        try:
            found.setdefault(name.strip(), []).extend(int(value) for value in values.split(","))
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise UserError(f"--labels {text}: expected NAME=VALUE or NAME=VALUE,VALUE, e.g. tumour=1,2,3")
    taken = [value for values in found.values() for value in values]
    double = sorted({value for value in taken if taken.count(value) > 1})
    if double:
        raise UserError(f"--labels: value {', '.join(map(str, double))} is given twice")
    return found


def bundle_recipe(bundle_root: PathLike) -> Recipe:
    """Recipe in a bundle's `inference.json`.

    Raises:
        DataError: no such file, or no recipe in it.
    """
    path = Path(bundle_root) / "configs" / "inference.json"
    try:
        return json.loads(path.read_text())["recipe"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path}: no recipe ({error!r}); a bundle made with an older version of transeg needs that version, or "
            "download its present version"
        ) from error


def check_recipe(recipe: Mapping[str, Any], where: str, **values: Any) -> None:
    """Compare settings of a run with the recipe of its data or weights.

    Args:
        recipe: of the data or weights; what it does not say (images without a physical grid) is not compared.
        where: what has this recipe, for the message.
        values: settings by name.

    Raises:
        DataError: a setting that the recipe has with another value; the message names both.
    """
    for name, value in values.items():
        expected = recipe.get(name)
        if expected is not None and _plain(value) != _plain(expected):
            raise DataError(
                f"{name} is {value} in the config, but {expected} in {where}; leave {name} out, or prepare the data "
                f"(or choose weights) with {name} {value}"
            )


def _without(recipe: Recipe, keys: Sequence[str]) -> Recipe:
    return {key: value for key, value in recipe.items() if key not in keys}


def _plain(value: Any) -> Any:
    return [*value] if isinstance(value, list | tuple) else value
