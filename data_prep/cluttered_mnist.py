"""Cluttered MNIST: whole digits among pieces of other digits.

Source: Vorontsov et al., section 4.3, and their public code where the paper leaves details open. Presence images show
one whole digit at a random position with clutter drawn over it; absence images show the same amount of clutter. Clutter
pieces are 10 x 10 crops of digits of the same fold; the background is noise N(0, 0.01^2). The mask is digit >
0.5, including where clutter covers it. Every digit appears once in the foreground: 59,500 training, 500 validation and
10,000 test images. 1 % of the training images are labelled, only images of the digit 9.

The stacks are float16, since the noise has negative values: 140,000 images of 48 x 48 pixels take 0.65 GB, of 128 x 128
pixels 4.6 GB, and the masks a quarter of that. They are generated in chunks, so memory stays at 0.3 GB plus the
libraries. Axes are rows, columns.

    python -m data_prep.cluttered_mnist --data MNIST --out OUT --variant simple48
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from tqdm import tqdm
from transeg.data.datalist import write_datalist, write_stack
from transeg.errors import UserError

from data_prep.cases import DATALIST, new_data_set, run_command
from data_prep.options import Data, LabelledCount, LabelledFraction, Out, Seed

PIECE = 10  # edge length of a piece of clutter in pixels
NOISE = 0.01
VALIDATION = 500
CHUNK = 1000
SPLIT, PRESENCE, ABSENCE, PLACES, LABELLED = range(5)  # independent streams of random numbers


class Variant(StrEnum):
    """Name of an image size with an amount of clutter, see `SIZES`."""

    simple48 = "simple48"
    hard48 = "hard48"
    large128 = "large128"


SIZES = {  # edge length of an image in pixels, pieces of clutter
    Variant.simple48: (48, 8),
    Variant.hard48: (48, 24),
    Variant.large128: (128, 80),
}


class Fold(NamedTuple):
    """Digits that may appear in one split."""

    digits: np.ndarray  # (N, 28, 28) uint8, source of the clutter
    names: np.ndarray  # (N,)
    images: int  # number of images; the first digits are their foreground


def read_idx(folder: Path, kind: str) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or gzipped, from a folder or its subfolder MNIST/raw.

    Args:
        folder: folder to search.
        kind: prefix of the file name, such as "train-images".

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an IDX file of bytes, or truncated.
    """
    places = (folder, folder / "raw", folder / "MNIST" / "raw")
    found = [path for place in places for path in sorted(place.glob(f"{kind}*ubyte*"))]
    if not found:
        raise FileNotFoundError(f"{folder}: no {kind}-*-ubyte or .gz file found; check --data")
    path = found[0]
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        zero, kind_of_value, axes = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{axes}I", content[4 : 4 + 4 * axes])
        if (zero, kind_of_value) != (0, 8):
            raise UserError("not an IDX file of bytes")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}); download it again") from error


def read_folds(folder: Path, train_images: int, test_images: int, seed: int) -> dict[str, Fold]:
    """Read MNIST and split it: "training", "validation" (500 of the 60,000) and "test"."""
    digits, names = read_idx(folder, "train-images"), read_idx(folder, "train-labels")
    test_digits, test_names = read_idx(folder, "t10k-images"), read_idx(folder, "t10k-labels")
    order = np.random.default_rng((seed, SPLIT)).permutation(len(digits))
    training, validation = order[:-VALIDATION], order[-VALIDATION:]

    def fold(digits: np.ndarray, names: np.ndarray, wanted: int, option: str) -> Fold:
        if not 0 < wanted <= len(digits):
            raise UserError(f"{option} must lie between 1 and {len(digits)}, not {wanted}")
        return Fold(digits, names, wanted)

    return {
        "training": fold(digits[training], names[training], train_images, "--train-images"),
        "validation": fold(digits[validation], names[validation], VALIDATION, "validation images of --data"),
        "test": fold(test_digits, test_names, test_images, "--test-images"),
    }


def add_digits(images: np.ndarray, digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place digit n at a random position in image n, in place.

    Args:
        images: (N, S, S).
        digits: (N, 28, 28) uint8.
        rng: draws the positions.

    Returns:
        Masks (N, S, S) uint8, 1 where the digit exceeds half of its range.
    """
    window = _windows(rng, images, digits.shape[1])
    images[window] = np.where(digits > 0, digits / np.float32(255), images[window])
    masks = np.zeros(images.shape, np.uint8)
    masks[window] = digits / 255 > 0.5
    return masks


def add_clutter(images: np.ndarray, pieces: int, digits: np.ndarray, rng: np.random.Generator) -> None:
    """Draw crops of random digits over the images, one after another, in place.

    Where a crop is non-zero it replaces the image; where their sum exceeds 1, the brighter one wins.

    Args:
        images: (N, S, S).
        pieces: number of crops per image.
        digits: (M, 28, 28) uint8, source of the crops.
        rng: draws digits, crops and positions.
    """
    for _ in range(pieces):
        source = digits[rng.integers(len(digits), size=len(images))]
        crop = source[_windows(rng, source, PIECE)] / np.float32(255)
        window = _windows(rng, images, PIECE)
        below = images[window]
        over = np.where(crop + below > 1, np.maximum(crop, below), crop)
        images[window] = np.where(crop > 0, over, below)


def _windows(rng: np.random.Generator, images: np.ndarray, edge: int) -> tuple[np.ndarray, ...]:
    """Index of one random square in each image."""
    corner = rng.integers(images.shape[1] - edge + 1, size=(2, len(images), 1))
    rows, columns = corner + np.arange(edge)
    return np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]


def write_fold(out: Path, split: str, fold: Fold, variant: Variant, seed: int) -> None:
    """Write the stacks `images/<split>.npy`, `labels/<split>.npy` and `images/<split>_absence.npy`."""
    size, pieces = SIZES[variant]

    def rng(stream: int) -> np.random.Generator:
        return np.random.default_rng((seed, stream, *split.encode()))

    def images(name: str, stream: int, with_digits: bool) -> Iterator[np.ndarray]:
        draw, places = rng(stream), rng(PLACES)
        for start in tqdm(range(0, fold.images, CHUNK), desc=name, unit="k", disable=None):
            digits = fold.digits[start : min(start + CHUNK, fold.images)]
            part = NOISE * draw.standard_normal((len(digits), size, size), dtype=np.float32)
            if with_digits:
                add_digits(part, digits, places)
            add_clutter(part, pieces, fold.digits, draw)
            yield part[:, None]

    def masks() -> Iterator[np.ndarray]:
        places = rng(PLACES)  # the same draws again, so that only one chunk is in memory
        for start in range(0, fold.images, CHUNK):
            digits = fold.digits[start : min(start + CHUNK, fold.images)]
            yield add_digits(np.zeros((len(digits), size, size), np.float32), digits, places)

    shape = (fold.images, 1, size, size)
    for name, stream in ((split, PRESENCE), (f"{split}_absence", ABSENCE)):
        write_stack(out / f"images/{name}.npy", images(name, stream, stream == PRESENCE), shape, np.float16)
    write_stack(out / f"labels/{split}.npy", masks(), (fold.images, size, size), np.uint8)


def choose_labelled(names: np.ndarray, count: int, digit: int, seed: int) -> set[int]:
    """Draw the training images that keep their label.

    Args:
        names: (N,) digit of each image.
        count: number of images to draw.
        digit: draw from images of this digit only; -1 for any.
        seed: random seed; a smaller count gives a subset.

    Raises:
        ValueError: too few images of this digit.
    """
    eligible = np.flatnonzero(names == digit) if digit >= 0 else np.arange(len(names))
    if not 0 < count <= len(eligible):
        raise UserError(
            f"{count} labelled images requested, but {len(eligible)} of {len(names)} training images are eligible; "
            f"choose another --labelled-count, more --train-images, or --labelled-digit -1 to label any digit"
        )
    return set(np.random.default_rng((seed, LABELLED)).permutation(eligible)[:count].tolist())


def prepare(
    data: Data,
    out: Out,
    variant: Annotated[Variant, typer.Option(help="Image size in pixels and amount of clutter.")] = Variant.simple48,
    train_images: Annotated[int, typer.Option(help="Number of training images per domain.")] = 59_500,
    test_images: Annotated[int, typer.Option(help="Number of test images per domain.")] = 10_000,
    labelled_fraction: LabelledFraction = 0.01,
    labelled_count: LabelledCount = None,
    labelled_digit: Annotated[int, typer.Option(help="Digit whose images may keep their label; -1 for any.")] = 9,
    seed: Seed = 0,
) -> Path:
    """Prepare cluttered MNIST from MNIST; torchvision's root folder is accepted as input."""
    variant = Variant(variant)
    folds = read_folds(data, train_images, test_images, seed)
    count = max(1, round(labelled_fraction * train_images)) if labelled_count is None else labelled_count
    labelled = choose_labelled(folds["training"].names[:train_images], count, labelled_digit, seed)
    name = f"Cluttered MNIST, {variant.value}"
    with new_data_set(out, name, "genseg") as folder:
        lists: dict[str, list[dict[str, Any]]] = {}
        for split, fold in folds.items():
            write_fold(folder, split, fold, variant, seed)
            lists[split] = [
                {"image": f"images/{split}.npy", "index": i, "case": split, "digit": int(fold.names[i])}
                for i in range(fold.images)
            ]
            for i, item in enumerate(lists[split]):
                if split != "training" or i in labelled:
                    item["label"] = f"labels/{split}.npy"
            lists[f"{split}_absence"] = [
                {"image": f"images/{split}_absence.npy", "index": i, "case": f"{split}_absence"}
                for i in range(fold.images)
            ]
        edge, pieces = SIZES[variant]
        write_datalist(
            folder / DATALIST,
            lists,
            name=name,
            description="Segmentation of the one whole digit among pieces of other digits.",
            recipe={
                "method": "genseg",
                "channels": ("image",),
                "image_size": (edge, edge),
                "pixdim": None,  # pixels have no physical size
                "halves": False,
                "labels": ("background", "digit"),
                "pieces": pieces,
            },
            preparation={
                "command": "cluttered_mnist",
                "variant": variant.value,
                "seed": seed,
                "labelled_digit": labelled_digit,
                "labelled": len(labelled),
                "kept": {split: len(items) for split, items in lists.items()},
            },
        )
    for split, items in lists.items():
        print(f"{split:20} {len(items):6} images, {sum('label' in item for item in items):6} labelled")
    print(f"wrote {out / DATALIST}")
    return out / DATALIST


if __name__ == "__main__":
    run_command(prepare)
