"""Preparation of volumes of BraTS's size: volumes per minute and memory, by voxel size and number of processes.

python -m benchmarks.preparation
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.results import write_result

GRIDS = {"1 mm": ("1", "240", "240"), "2 mm": ("2", "120", "120")}
MEASURE = """
import json, resource, sys, time
from pathlib import Path
from data_prep.brats import prepare
raw, out, pixdim, x, y, workers = sys.argv[1:]
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.monotonic()
prepare(Path(raw), Path(out), pixdim=float(pixdim), size=(int(x), int(y)), workers=int(workers), min_brain=0.02,
        labelled_fraction=0.5, validation=1, test=1)
most = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps({"seconds": time.monotonic() - start, "idle": idle, "peak": max(most)}), file=sys.stderr)
"""


def measure(cases: Annotated[int, typer.Option(help="Number of phantoms.")] = 6) -> None:
    """Prepare phantoms of 240 x 240 x 155 voxels with four sequences."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder, "raw")
        phantoms = ["-m", "data_prep.phantoms", "brain", "--out", str(raw), "--cases", str(cases)]
        subprocess.run([sys.executable, *phantoms, "--shape", "240,240,155", "--spacing", "1"], check=True)
        for grid, options in GRIDS.items():
            for workers in (1, 2):
                out = Path(folder, f"{options[0]}_{workers}")
                command = [sys.executable, "-c", MEASURE, str(raw), str(out), *options, str(workers)]
                done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
                found = json.loads(done.stderr.strip().splitlines()[-1])
                figures[f"{grid}, {workers} process{'es' * (workers > 1)}"] = {
                    "volumes_per_minute": round(60 * cases / found["seconds"], 1),
                    "peak_mb_of_a_process": round(found["peak"] / 1024),
                    "idle_mb": round(found["idle"] / 1024),
                }
    for name, found in figures.items():
        print(name, found)
    write_result("preparation", f"{cases} brain phantoms of 240 x 240 x 155, four sequences", [0], figures)


if __name__ == "__main__":
    typer.run(measure)
