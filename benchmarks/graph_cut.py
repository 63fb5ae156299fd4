"""Time of the exact graph cut on volumes of 256 x 256 x 16, and its energy against all labellings of small grids.

Severe thigh phantoms, with costs from an intensity model of other phantoms, as a volume (with edges between slices) and
slice by slice. The last row is the worst known case: speckle with a high boundary weight.

    python -m benchmarks.graph_cut
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from scipy.ndimage import gaussian_filter
from transeg.methods.thigh.classical.graph_cut import energy, graph_cut
from transeg.methods.thigh.classical.intensity import count_intensities, learn_intensity
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.methods.thigh.classical.search import SMOOTHNESS
from transeg.methods.thigh.classical.spgc import CutParameters, filtered, unary_cost

from benchmarks.results import write_result
from data_prep.phantoms import thigh_phantom

SHAPE, SPACING = (256, 256, 16), (1.0, 1.0, 7.0)
FIELD = (1.5, 1.5, 7.0)  # of two legs, in the same voxels
TRAINING = (("healthy", 0), ("severe", 1))


def phantom_costs(patients: Sequence[int], seed: int) -> list[np.ndarray]:
    """Unary costs of severe patients."""

    def scan(grade: str, case: int) -> tuple[np.ndarray, np.ndarray]:
        phantom = thigh_phantom((seed, case), SHAPE, FIELD, grade)
        image = phantom.image.astype(np.float32)
        return filtered(fit_mixture(image).normalise(image), CutParameters()), phantom.mask

    model = learn_intensity(count_intensities(*scan(grade, case)) for grade, case in TRAINING)
    return [unary_cost(scan("severe", case)[0], model, CutParameters()) for case in patients]


def speckle(seed: int) -> np.ndarray:
    """Costs of smooth regions under heavy independent noise."""
    rng = np.random.default_rng(seed)
    regions = gaussian_filter(rng.normal(size=SHAPE), (12, 12, 1))
    return 0.5 - 1 / (1 + np.exp(-2 * (regions / regions.std() + rng.normal(size=SHAPE))))


def seconds(costs: Sequence[np.ndarray], smoothness: float, slicewise: bool) -> dict[str, float]:
    """Processor time of one cut (single-threaded): median and maximum over the volumes."""
    times = []
    for unary in costs:
        begin = time.process_time()
        graph_cut(unary, smoothness, SPACING, axes=(0, 1) if slicewise else None)
        times.append(time.process_time() - begin)
    return {"median_s": round(median(times), 3), "max_s": round(max(times), 3)}


def brute_force(size: int, grids: int, seed: int) -> float:
    """Largest excess over the lowest energy of all labellings, over random grids with 4 and 8 neighbours."""
    bits = (np.arange(2 ** (size * size))[:, None] >> np.arange(size * size)) & 1
    labellings = bits.astype(bool).reshape(-1, size, size)
    worst = 0.0
    for k in range(grids):
        unary = np.random.default_rng((seed, k)).normal(size=(size, size))
        options = (0.1 * 2 ** (k % 5), (1.0, 1.7), 1 + k % 2)
        cut = energy(graph_cut(unary, *options), unary, *options)
        worst = max(worst, cut - min(energy(labels, unary, *options) for labels in labellings))
    return worst


def main(
    patients: Annotated[int, typer.Option(help="Number of phantoms.")] = 3,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
) -> None:
    """Measure and write benchmarks/results/graph_cut.json."""
    costs = phantom_costs(range(10, 10 + patients), seed)
    figures: dict[str, Any] = {"shape": SHAPE, "spacing_mm": SPACING, "patients": patients, "cuts": {}}
    for name, slicewise in (("volume", False), ("slices", True)):
        rows = {str(weight): seconds(costs, weight, slicewise) for weight in SMOOTHNESS}
        rows["0.5, speckle"] = seconds([speckle(seed)], 0.5, slicewise)
        figures["cuts"][name] = rows
        print(name, rows)
    figures["above_brute_force"] = {"3x3": brute_force(3, 50, seed), "4x4": brute_force(4, 2, seed)}
    print(figures["above_brute_force"])
    print(write_result("graph_cut", "severe thigh phantoms", [seed], figures))


if __name__ == "__main__":
    typer.run(main)
