"""What a recipe of this method says beside its grid: the two domains, the labels in the files, and the crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transeg.data.recipe import Recipe
from transeg.errors import DataError
from transeg.transforms import preprocessing

SCALES = ("window", "percentiles")
# Orientation of the volumes. The slices of an oblique scan, such as short-axis views of the heart, are along the last
# axis of the file, and reorienting them to the nearest body axis would tell scans of nearly the same plane apart.
AXES: dict[str, str | None] = preprocessing.AXES | {"native": None}
CROPS = ("heart", "foreground", "centre", "none")

# Zhang et al. 2018, section 5.1, with the label values of MM-WHS. Aorta (820) and pulmonary artery (850) are not among
# the paper's regions; one MR label contains a few voxels of 421. The paper does not state the intensity scaling; this
# is the usual one.
HEART: Recipe = {
    "method": "cardiac",
    "channels": ["image"],
    "domains": {
        "ct": {"scale": "window", "range": [-100, 800], "fill": -1000},
        "mr": {"scale": "percentiles", "range": [0.5, 99.5]},
    },
    "image_size": [112, 112, 86],
    "pixdim": 1.5,
    "axis": "axial",
    "crop": "heart",
    "labels": ["background", "Myo", "LA", "LV", "RA", "RV"],
    "label_values": {
        "background": [0, 820, 850], "Myo": [205], "LA": [420, 421], "LV": [500], "RA": [550], "RV": [600],
    },
}  # fmt: skip


def with_class_numbers(recipe: Mapping[str, Any]) -> Recipe:
    """A recipe by whose "label_values" the numbers of the classes are read as well, see `class_values`."""
    classes = class_values(recipe["labels"], recipe.get("label_values"))
    names = list(recipe["labels"])
    return dict(recipe) | {"label_values": {name: [v for v in classes if names[classes[v]] == name] for name in names}}


def check_domains(domains: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Names of the two domains, A and B of the paper.

    Args:
        domains: by name, "scale" ("window": "range" in the units of the files; "percentiles": "range" in % of each
            volume) and optionally "fill", the intensity beyond the crop of a translation to this domain.

    Raises:
        DataError: not two domains, an unknown scale, or a range that is not two increasing numbers.
    """
    if len(domains) != 2:
        raise DataError(f"a recipe needs two domains, such as ct and mr, got {', '.join(domains) or 'none'}")
    for name, rule in domains.items():
        low, high = [*rule.get("range", ()), None, None][:2]
        if rule.get("scale") not in SCALES or low is None or high is None or low >= high:
            raise DataError(
                f"domain {name}: {dict(rule)}; expected a scale ({' or '.join(SCALES)}) and a range of two increasing "
                'numbers, such as {"scale": "window", "range": [-100, 800]}'
            )
    first, second = domains
    return first, second


def class_values(labels: Sequence[str], label_values: Mapping[str, Sequence[int]] | None = None) -> dict[int, int]:
    """Class (index in `labels`) by the value that it has in label files.

    Label files that hold classes, such as the masks that inference writes, can be used too, unless a class number is
    the value of another label.

    Args:
        labels: names, background first.
        label_values: values in the files by name; names that are not among the labels do not count, so that their
            values are refused. Default: the classes.

    Raises:
        DataError: a value of two labels.
    """
    values: dict[int, int] = {0: 0}
    for number, name in enumerate(labels):
        for value in (label_values or {}).get(name, ()):
            if values.setdefault(int(value), number) != number:
                raise DataError(f"label_values: {value} belongs to both {labels[values[int(value)]]} and {name}")
    classes = {number: number for number in range(len(labels))}
    return classes | values if all(values.get(c, c) == c for c in classes) else values
