"""Damaged and odd inputs: each must be read right or refused with a sentence, never crash and never be read wrong.

python -m benchmarks.fuzz --count 500
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
import typer
from PIL import Image
from transeg.data.table import read_table
from transeg.errors import UserError
from transeg.transforms.load import LoadVolumed

from benchmarks.results import write_result

SIZES = (0.7, 0.8, 2.5)
Read = Callable[[], Any]


class Trial(NamedTuple):
    """An input and what may come of it: `right` tells whether a result is; `must` is "read", "refused" or "either"."""

    read: Read
    right: Callable[[Any], bool]
    must: str


class Scan:
    """A random scan (7, 6, 8) and how to write it.

    Args:
        folder: to write to.
        rng: source of the voxels.
    """

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self.folder, self.rng = folder, rng
        self.voxels = rng.integers(1, 2000, (7, 6, 8)).astype(np.int16)
        self.image = sitk.GetImageFromArray(self.voxels.T.copy())
        self.image.SetSpacing(SIZES)
        self.image.SetOrigin((-12.5, 45.25, 78.0))
        self.affine = np.diag([-SIZES[0], -SIZES[1], SIZES[2], 1])
        self.affine[:3, 3] = (12.5, -45.25, 78.0)

    def right(self, volume: Any) -> bool:
        """Whether a loaded volume has the voxels and places of the scan."""
        same = volume.shape[1:] == self.voxels.shape and bool((volume.numpy()[0] == self.voxels).all())
        return same and bool(np.abs(volume.affine.numpy() - self.affine).max() < 1e-4)

    def trial(self, reference: Path, must: str, spacing: tuple[float, ...] | None = None) -> Trial:
        """Load one reference."""
        data: dict[Hashable, Any] = {"image": str(reference), "spacing": spacing}
        return Trial(lambda: LoadVolumed("image")(data)["image"], self.right, must)

    def nifti(self, change: Callable[[nib.Nifti1Image], None], suffix: str = ".nii") -> Path:
        """Write the scan as NIfTI with a changed header."""
        image = nib.Nifti1Image(self.voxels, self.affine)
        image.set_qform(self.affine, 1)
        image.set_sform(self.affine, 1)
        image.header.set_xyzt_units("mm")
        change(image)
        nib.save(image, self.folder / f"a{suffix}")
        return self.folder / f"a{suffix}"

    def series(self) -> list[Path]:
        """Write the scan as a DICOM series."""
        folder = self.folder / "series"
        folder.mkdir()
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        for number in range(self.image.GetDepth()):
            plane = self.image[:, :, number]
            position = self.image.TransformIndexToPhysicalPoint((0, 0, number))
            fields = {"0008|0060": "MR", "0020|000e": "1.2.3", "0008|0018": f"1.2.3.{number + 1}"}
            fields |= {"0020|0032": "\\".join(map(str, position)), "0020|0037": "1\\0\\0\\0\\1\\0"}
            for key, value in fields.items():
                plane.SetMetaData(key, value)
            writer.SetFileName(str(folder / f"{number}.dcm"))
            writer.Execute(plane)
        return sorted(folder.iterdir())

    def stack(self) -> list[Path]:
        """Write the scan as numbered slices."""
        for number, plane in enumerate(self.voxels.T, 1):
            Image.fromarray(plane.astype(np.uint16)).save(self.folder / f"P_{number}.tif")
        self.affine[:3, 3] = 0
        return [self.folder / f"P_{number}.tif" for number in range(1, 9)]


def nifti_header(scan: Scan) -> Trial:
    """A field that must be refused."""
    field, place, value = [
        ("pixdim", 2, 0.0),
        ("pixdim", 3, np.nan),
        ("srow_x", 0, np.nan),
        ("srow_x", slice(None), 0.0),
        ("dim", 3, 9),
        ("dim", 3, -2),
        ("dim", 1, 0),
        ("datatype", ..., 32),
        ("datatype", ..., 4096),
        ("dim", 0, 2),
        ("xyzt_units", ..., 1),
    ][scan.rng.integers(11)]
    path = scan.nifti(lambda _: None)
    content = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    header[field][place] = value
    path.write_bytes(header.binaryblock + bytes(content[348:]))
    return scan.trial(path, "refused")


def nifti_harmless(scan: Scan) -> Trial:
    """Another way to store the same scan."""

    def described(image: nib.Nifti1Image) -> None:
        image.header["descrip"] = bytes(scan.rng.integers(1, 255, 79).astype(np.uint8))

    changes: list[Callable[[nib.Nifti1Image], None]] = [
        described,
        lambda image: image.set_sform(scan.affine, 0),
        lambda image: image.set_qform(scan.affine, 0),
        lambda image: image.set_data_dtype(np.float64),
        lambda image: image.set_data_dtype(np.int32),
    ]
    suffix = str(scan.rng.choice([".nii", ".nii.gz", ".NII.GZ"]))
    path = scan.nifti(changes[scan.rng.integers(len(changes))], suffix)
    if suffix == ".nii":
        path.write_bytes(path.read_bytes() + bytes(int(scan.rng.integers(50))))
    return scan.trial(path, "read")


def voxel_values(scan: Scan) -> Trial:
    """NaN or infinity inside."""
    voxels = scan.voxels.astype(np.float32)
    voxels[3, 3, scan.rng.integers(2, 6)] = scan.rng.choice([np.nan, np.inf, -np.inf])
    path = scan.folder / "a.nii.gz"
    nib.save(nib.Nifti1Image(voxels, scan.affine), path)
    return scan.trial(path, "refused")


def truncated(scan: Scan) -> Trial:
    """A copy that was interrupted."""
    path = scan.folder / f"a{scan.rng.choice(['.nii', '.nii.gz', '.nrrd', '.mha'])}"
    sitk.WriteImage(scan.image, str(path))
    content = path.read_bytes()
    path.write_bytes(content[: scan.rng.integers(len(content))])
    return scan.trial(path, "either")


def flipped_bytes(scan: Scan) -> Trial:
    """Random bytes of a header; where they stand for a number, the result is what the header says."""
    path = scan.folder / f"a{scan.rng.choice(['.nii', '.nrrd', '.mha', '.nii.gz'])}"
    sitk.WriteImage(scan.image, str(path))
    content = bytearray(path.read_bytes())
    for place in scan.rng.integers(0, min(352, len(content)), 3):
        content[place] = scan.rng.integers(256)
    path.write_bytes(content)
    return scan.trial(path, "either")._replace(right=lambda _: True)


def series_damaged(scan: Scan) -> Trial:
    """A slice that is missing, doubled, cut, of another size, or of another series."""
    files = scan.series()
    at = int(scan.rng.integers(1, 7))
    what = scan.rng.integers(4)
    if what == 0:
        files[at].unlink()
    elif what == 1:
        shutil.copy(files[at], files[at].with_name("copy.dcm"))
    elif what == 2:
        files[at].write_bytes(files[at].read_bytes()[: -int(scan.rng.integers(2, 60))])
    else:
        sitk.WriteImage(scan.image[:5, :, at], str(files[at]))
    return scan.trial(files[0].parent, "refused")


def series_odd(scan: Scan) -> Trial:
    """Other names, no suffix, stray files."""
    files = scan.series()
    for name, file in zip(scan.rng.permutation(100), files, strict=False):
        file.rename(file.with_name(f"IM{name}" + str(scan.rng.choice(["", ".dcm", ".ima"]))))
    (files[0].parent / "notes.txt").write_text("stray")
    return scan.trial(files[0].parent, "read")


def stack_damaged(scan: Scan) -> Trial:
    """A slice that is missing, of another size or kind, or cut."""
    files = scan.stack()
    file = files[scan.rng.integers(1, 7)]
    what = scan.rng.integers(4)
    if what == 0:
        file.unlink()
    elif what == 1:
        Image.fromarray(np.zeros((6, int(scan.rng.choice([1, 6, 8]))), np.uint16)).save(file)
    elif what == 2:
        Image.fromarray(np.zeros((6, 7, 3), np.uint8)).save(file)
    else:
        file.write_bytes(file.read_bytes()[: scan.rng.integers(80)])
    return scan.trial(scan.folder / "P_*.tif", "refused", spacing=SIZES)


def stack_odd(scan: Scan) -> Trial:
    """Masks beside the slices, padded numbers."""
    for number, file in enumerate(scan.stack(), 1):
        shutil.copy(file, file.with_name(f"P_{number}_mask.tif"))
        if scan.rng.integers(2):
            file.rename(file.with_name(f"P_{number:03d}.TIF"))
    return scan.trial(scan.folder / "P_*.tif", "read", spacing=SIZES)


def table(scan: Scan) -> Trial:
    """A table with other delimiters, line ends or a byte-order mark, or with a random byte."""
    for k in range(3):
        sitk.WriteImage(scan.image, str(scan.folder / f"{k}.nii.gz"))
    rows = [["case", "image", "presence", "spacing"], *([f"c{k}", f"{k}.nii.gz", "yes", "1 1 2"] for k in range(3))]
    delimiter, ending = str(scan.rng.choice([",", ";", "\t"])), str(scan.rng.choice(["\n", "\r\n"]))
    content = bytearray(
        ending.join(delimiter.join(row) for row in rows).encode(str(scan.rng.choice(["utf-8", "utf-8-sig"])))
    )
    damaged = bool(scan.rng.integers(2))
    if damaged:
        content[scan.rng.integers(len(content))] = scan.rng.integers(256)
    (scan.folder / "cases.csv").write_bytes(content)

    def right(cases: Any) -> bool:
        return damaged or [(case.name, case.presence, case.spacing) for case in cases] == [
            (f"c{k}", True, (1, 1, 2)) for k in range(3)
        ]

    return Trial(lambda: read_table(scan.folder / "cases.csv"), right, "either" if damaged else "read")


KINDS = (
    nifti_header, nifti_harmless, voxel_values, truncated, flipped_bytes, series_damaged, series_odd, stack_damaged,
    stack_odd, table,
)  # fmt: skip


def outcome(trial: Trial) -> str:
    """What came of a trial: "read" or "refused" as it must be, otherwise a fault."""
    try:
        result = trial.read()
    except UserError as error:
        return "refused" if trial.must != "read" else f"refused though it can be read: {error}"
    except Exception as error:
        return f"crashed: {type(error).__name__}: {error}"
    if trial.must == "refused":
        return "read though it must be refused"
    return "read" if trial.right(result) else "read wrong"


def fuzz(count: int, seed: int = 0) -> tuple[dict[str, Counter[str]], list[str]]:
    """Run trials of all kinds in turn.

    Returns:
        Number of trials "read" and "refused" for each kind, and the faults.
    """
    counts: dict[str, Counter[str]] = {kind.__name__: Counter() for kind in KINDS}
    faults = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        with tempfile.TemporaryDirectory() as folder:
            found = outcome(kind(Scan(Path(folder), np.random.default_rng((seed, number)))))
        if found in ("read", "refused"):
            counts[kind.__name__][found] += 1
        else:
            faults.append(f"{kind.__name__} {number}: {found}")
    return counts, faults


def main(
    count: Annotated[int, typer.Option(help="Number of inputs.")] = 500,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Write results/fuzz.json; exit with status 1 if there is a fault."""
    logging.disable(logging.CRITICAL)
    sitk.ProcessObject.GlobalWarningDisplayOff()
    counts, faults = fuzz(count, seed)
    figures = {"inputs": count, "kinds": {kind: dict(found) for kind, found in counts.items()}, "faults": faults}
    print(write_result("fuzz", "random scans of 7 x 6 x 8 voxels", [seed], figures))
    print("\n".join(faults) or "no fault")
    raise typer.Exit(bool(faults))


if __name__ == "__main__":
    typer.run(main)
