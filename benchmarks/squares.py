"""Prepared data without scans: bright squares on noise, at the size and in the lists that a recipe asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transeg.data.datalist import write_datalist, write_stack
from transeg.data.table import SPLITS

SMALLEST = {"width": 2, "segmenter_width": 2, "discriminator_width": 2, "blocks": 1, "code": 8}  # of what a bundle has
SIDE = 10  # of a square, in voxels


def write_squares(folder: Path, recipe: Mapping[str, Any], count: int = 6, labelled: int = 2) -> Path:
    """Write stacks of images and labels, and their datalist.

    Args:
        folder: for the data set.
        recipe: whose channels, labels and image size the data have. With "domains", they are cubes in volumes of each
            domain, all labelled; otherwise squares in slices with and without.
        count: images of each list.
        labelled: training slices that keep their label.

    Returns:
        Path of the datalist.
    """
    rng = np.random.default_rng(0)
    channels, (width, *rest) = len(recipe["channels"]), recipe["image_size"]
    size = (width // 2 if recipe.get("halves") else width, *rest)
    domains = tuple(f"_{name}" for name in recipe.get("domains", ()))
    lists: dict[str, list[dict[str, Any]]] = {}
    for split in SPLITS:
        for domain in domains or ("", "_absence"):
            name = split + domain
            images = rng.normal(0, 0.1, (count, channels, *size)).astype(np.float16)
            labels = np.zeros((count, *size), np.uint8)
            if domain != "_absence":
                for k in range(count):
                    corner = rng.integers(0, np.array(size) - SIDE - 2)
                    square = tuple(slice(start, start + SIDE) for start in corner.tolist())
                    labels[k][square] = 1 + k % (len(recipe["labels"]) - 1)
                images += (labels > 0)[:, None] * np.float16(0.6)
            write_stack(folder / "images" / f"{name}.npy", [images], images.shape, np.float16)
            write_stack(folder / "labels" / f"{name}.npy", [labels], labels.shape, np.uint8)
            lists[name] = []
            for k in range(count):
                item = {"image": f"images/{name}.npy", "index": k, "case": name}
                item |= {"domain": domain[1:]} if domains else {}
                if split != "training" or domains or (not domain and k < labelled):
                    item["label"] = f"labels/{name}.npy"
                lists[name].append(item)
    return write_datalist(
        folder / "datalist.json",
        lists,
        name="squares",
        description="Squares on noise.",
        recipe=recipe,
        preparation={},
        dimensions=len(size),
    )
