"""Pages of `transeg report` as a browser shows them: a scan through the released weights of every bundle.

Brains are of a test patient of TCGA-LGG, thigh and heart are phantoms.

    python -m benchmarks.report_pictures SLICES WORK
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from transeg.bundle.segment import run_segmentation
from transeg.files import PAGE
from transeg.report.command import write_report

from benchmarks.lgg import Slices, Work
from benchmarks.methods_picture import BUNDLES, PATIENT, PHANTOMS, make_phantoms
from benchmarks.results import ROOT

SCREEN = (1280, 860)


def main(
    slices: Slices,
    work: Work,
    patient: Annotated[str, typer.Option(help="A test patient.")] = PATIENT,
    seed: Annotated[int, typer.Option(help="Random seed of the phantoms; not one used for training.")] = 1000,
) -> None:
    """Write `docs/report.png` of every bundle."""
    make_phantoms(work / "raw", seed)
    for method, name in BUNDLES.items():
        bundle, out = ROOT / "bundles" / name, work / name
        scans = work / "raw" / PHANTOMS[method][0] if method in PHANTOMS else slices / patient
        domain = {"modality": "ct"} if name.startswith("cardiac") else {}
        shutil.rmtree(out, ignore_errors=True)
        run_segmentation(scans, bundle, out, {"save_translation": True, **domain}, pictures=False)
        write_report(out)
        [page] = [path for path in sorted(out.glob(f"*{PAGE}")) if path.name != "report.html"]
        photograph(page, bundle / "docs" / "report.png")
        print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


def photograph(page: Path, picture: Path) -> None:
    """Save the top of a page as Chromium shows it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("Chromium is not installed")
    size = f"--window-size={SCREEN[0]},{SCREEN[1]}"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=20000", size]
    command = [browser, *options, f"--screenshot={picture.absolute()}", page.absolute().as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(picture) as shown:
        shown.convert("RGB").save(picture, optimize=True)


if __name__ == "__main__":
    typer.run(main)
