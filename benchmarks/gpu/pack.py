"""Slices as they travel to a machine with a GPU: losslessly compressed to two thirds of their TIF files.

python -m benchmarks.gpu.pack pack KAGGLE_3M SLICES.zip
python -m benchmarks.gpu.pack unpack SLICES.zip FOLDER
"""

from __future__ import annotations

import io
import zipfile
from multiprocessing import Pool
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

Archive = Annotated[Path, typer.Argument(help="Zip of WebP images.")]
Workers = Annotated[int, typer.Option(help="Number of processes.")]
app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def pack(
    folder: Annotated[Path, typer.Argument(help="Folder of TIF slices.")], archive: Archive, workers: Workers = 1
) -> None:
    """Pack TCGA-LGG but for the patients of whom a sequence is missing and FLAIR in its place."""
    patients = [patient for patient in sorted(folder.iterdir()) if _complete(patient)]
    files = [file for patient in patients for file in sorted(patient.glob("*.tif"))]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed, Pool(workers) as pool:
        for file, content in zip(files, pool.imap(_webp, files, chunksize=16), strict=True):
            packed.writestr(f"{file.relative_to(folder).with_suffix('')}.webp", content)
    print(f"{len(patients)} patients, {len(files)} files, {archive.stat().st_size / 2**20:.1f} MiB")


@app.command()
def unpack(archive: Archive, folder: Annotated[Path, typer.Argument(help="New folder.")], workers: Workers = 1) -> None:
    """Write the TIF slices of an archive."""
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
    for parent in {(folder / name).parent for name in names}:
        parent.mkdir(parents=True, exist_ok=True)
    with Pool(workers) as pool:
        pool.starmap(_unpack, [(archive, names[start::workers], folder) for start in range(workers)])


def _complete(patient: Path) -> bool:
    slices = [file for file in patient.glob("*.tif") if not file.stem.endswith("_mask")]
    pixels = np.stack([np.asarray(Image.open(file)) for file in slices])
    return bool(slices) and not any((pixels[..., k] == pixels[..., 1]).all() for k in (0, 2))


def _webp(file: Path) -> bytes:
    """A slice, losslessly; a mask as grey values.

    Raises:
        ValueError: it would not come back as it is.
    """
    buffer, image = io.BytesIO(), Image.open(file)
    image.convert("RGB").save(buffer, "webp", lossless=True, method=4, quality=100)
    if not np.array_equal(_pixels(buffer.getvalue(), image.mode), np.asarray(image)):
        raise ValueError(f"{file}: {image.mode} images cannot be packed.")
    return buffer.getvalue()


def _pixels(content: bytes, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB").convert(mode))


def _unpack(archive: Path, names: list[str], folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in names:
            mode = "L" if name.endswith("_mask.webp") else "RGB"
            Image.fromarray(_pixels(packed.read(name), mode)).save((folder / name).with_suffix(".tif"))


if __name__ == "__main__":
    app()
