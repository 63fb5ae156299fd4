"""Inference of whole scans with the released weights: start, time and memory of a process, size of the masks.

`transeg segment` on phantoms, with one thread and without pictures; the first scan bears what is done once.

    python -m benchmarks.inference
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import nibabel as nib
import typer
from transeg.bundle.package import bundle_folder, find_bundles
from transeg.bundle.segment import MANIFEST
from transeg.data.recipe import bundle_recipe
from transeg.method import find_method

from benchmarks.results import ROOT, write_result

SHAPES = {"brain": ["--shape", "240,240,155", "--spacing", "1"]}  # of BraTS; the others as their phantoms come
MEASURE = """
import json, resource, sys, time
from pathlib import Path
start = time.monotonic()
from transeg.bundle.package import bundle_root
from transeg.bundle.segment import run_segmentation
run_segmentation(Path(sys.argv[1]), bundle_root(sys.argv[2]), Path(sys.argv[3]), pictures=False)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": time.monotonic() - start, "peak": peak}))
"""


def measure(cases: Annotated[int, typer.Option(help="Number of phantoms for each bundle.", min=2)] = 6) -> None:
    """Segment phantoms with every bundle."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for root in find_bundles(ROOT / "bundles"):
            kind = find_method(bundle_recipe(root)["method"]).phantoms
            assert kind is not None
            scans, out = Path(folder, kind), Path(folder, root.name)
            if not scans.is_dir():
                options = ["--out", str(scans), "--cases", str(cases), *SHAPES.get(kind, [])]
                subprocess.run([sys.executable, "-m", "data_prep.phantoms", kind, *options], check=True)
            figures[root.name] = _segment(root.name, scans, out)
            print(root.name, figures[root.name], flush=True)
    write_result("inference", f"{cases} phantoms for each bundle", [0], figures)


def _segment(bundle: str, scans: Path, out: Path) -> dict[str, float | str]:
    command = [sys.executable, "-c", MEASURE, str(scans), str(bundle_folder(bundle)), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    whole = json.loads(done.stdout.strip().splitlines()[-1])
    seconds = [entry["seconds"] for entry in json.loads((out / MANIFEST).read_text())["cases"].values()]
    masks = sorted(out.glob("*_seg.nii.gz"))
    later = sorted(seconds)[: len(seconds) - 1]  # without the slowest: that is the first
    return {
        "voxels": " x ".join(map(str, nib.Nifti1Image.from_filename(masks[0]).shape)),
        "seconds_a_scan": round(sum(later) / len(later), 2),
        "seconds_to_start": round(whole["seconds"] - sum(seconds) + max(seconds) - sum(later) / len(later), 1),
        "peak_gb": round(whole["peak"] / 2**20, 2),
        "mask_kb": round(sum(path.stat().st_size for path in masks) / len(masks) / 1024, 1),
    }


if __name__ == "__main__":
    typer.run(measure)
