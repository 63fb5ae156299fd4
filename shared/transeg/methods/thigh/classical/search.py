"""Parameter selection for the graph cuts: leave-one-subject-out grid search.

Gadermayr et al., Front. Radiol. 2021, section 2.3, with the paper's values. They search separately for each kind of
image (originals, each translation): call `grid_search` once for each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from transeg.methods.thigh.classical.graph_cut import graph_cut
from transeg.methods.thigh.classical.intensity import IntensityModel, count_intensities, learn_intensity
from transeg.methods.thigh.classical.spgc import CutParameters, filtered, unary_cost

SMOOTHNESS = (0.001, 0.002, 0.05, 0.1, 0.2, 0.5)  # lambda_s
SIGMA = (1.0, 2.0)
SHAPE_WEIGHT = (0.1, 0.2, 0.5, 0.7, 1.0)  # lambda_sp
NEUTRAL = (0.2, 0.3, 0.4, 0.5)  # p_n


@dataclass(frozen=True)
class Case:
    """An annotated scan.

    Attributes:
        subject: name of the subject; all its scans are left out together.
        z: intensities with muscle at 0 and fat at 1, (X, Y, Z), see `TissueMixture.normalise`.
        muscle: annotated mask.
        spacing: voxel size in mm.
        shape: p_sp, learned without this subject; None for a graph cut without a shape prior.
    """

    subject: str
    z: np.ndarray
    muscle: np.ndarray
    spacing: tuple[float, ...]
    shape: np.ndarray | None = None


@dataclass(frozen=True)
class SearchResult:
    """Scores of all parameter sets.

    Attributes:
        grid: parameter sets tried.
        subjects: subjects scored.
        scores: (parameter sets, subjects), mean over the scans of a subject, with a model learned without it.
    """

    grid: tuple[CutParameters, ...]
    subjects: tuple[str, ...]
    scores: np.ndarray

    @property
    def best(self) -> CutParameters:
        """Parameter set with the highest mean score over the subjects; the first of ties."""
        return self.grid[int(self.scores.mean(axis=1).argmax())]

    def held_out(self) -> dict[str, tuple[CutParameters, float]]:
        """For each subject, the best parameters on the other subjects and its score with them.

        These are the scores to report: the maximum over the grid is optimistic, as it is selected on the same subjects.

        Raises:
            ValueError: only one subject.
        """
        if len(self.subjects) < 2:
            raise ValueError("selecting parameters on the other subjects requires at least two")
        chosen = {}
        for k, subject in enumerate(self.subjects):
            row = int(np.delete(self.scores, k, axis=1).mean(axis=1).argmax())
            chosen[subject] = (self.grid[row], float(self.scores[row, k]))
        return chosen

    def table(self) -> list[dict[str, float]]:
        """One row per parameter set, best first: the paper's four parameters, mean, median and range of the scores."""
        rows = []
        for parameters, scores in zip(self.grid, self.scores, strict=True):
            row = {name: getattr(parameters, name) for name in ("smoothness", "sigma", "shape_weight", "neutral")}
            figures = {"mean": scores.mean(), "median": np.median(scores), "min": scores.min(), "max": scores.max()}
            rows.append(row | {name: float(value) for name, value in figures.items()})
        return sorted(rows, key=lambda row: -row["mean"])


def paper_grid(shape_prior: bool, **options: Any) -> tuple[CutParameters, ...]:
    """The paper's grid: 12 parameter sets for the graph cut, 240 with the shape prior; options apply to all of them."""
    base = CutParameters(**options)
    weights = SHAPE_WEIGHT if shape_prior else (0.0,)
    neutral = NEUTRAL if shape_prior or base.neutral_of == "fat" else (base.neutral,)
    return tuple(
        replace(base, smoothness=s, sigma=f, shape_weight=w, neutral=n)
        for s, f, w, n in product(SMOOTHNESS, SIGMA, weights, neutral)
    )


def leave_one_out(cases: Sequence[Case], parameters: CutParameters) -> Iterator[tuple[Case, IntensityModel]]:
    """Yield each case with the intensity model of all other subjects.

    Raises:
        ValueError: fewer than two subjects.
    """
    if len({case.subject for case in cases}) < 2:
        raise ValueError("leaving one subject out requires at least two subjects")
    counts = [count_intensities(filtered(case.z, parameters), case.muscle) for case in cases]
    for case in cases:
        others = [count for other, count in zip(cases, counts, strict=True) if other.subject != case.subject]
        yield case, learn_intensity(others)


def grid_search(
    cases: Sequence[Case],
    grid: Sequence[CutParameters],
    score: Callable[[np.ndarray, np.ndarray], float],
    scored: Collection[str] | None = None,
) -> SearchResult:
    """Segment every case with every parameter set, with an intensity model learned without its subject.

    Shape maps are given and filtered intensities are shared, so a parameter set costs one graph cut per scan.

    Args:
        cases: annotated scans of at least two subjects.
        grid: parameter sets, such as `paper_grid`.
        score: score of a mask and the annotation, higher is better (`transeg.metrics.overlap.dice`).
        scored: subjects to score, e.g. the severe ones; the others are only learned from. Default: all.

    Raises:
        ValueError: an empty grid, fewer than two subjects, or no subject to score.
    """
    subjects = tuple(dict.fromkeys(case.subject for case in cases if scored is None or case.subject in scored))
    if not grid or not subjects:
        raise ValueError("a search requires at least one parameter set and one subject to score")
    results: dict[tuple[int, str], list[float]] = {}
    for filtering in dict.fromkeys((parameters.sigma, parameters.smooth) for parameters in grid):
        rows = [k for k, parameters in enumerate(grid) if (parameters.sigma, parameters.smooth) == filtering]
        for case, model in leave_one_out(cases, grid[rows[0]]):
            if case.subject not in subjects:
                continue
            z = filtered(case.z, grid[rows[0]])
            for k in rows:
                p = grid[k]
                axes = (0, 1) if p.slicewise else None
                unary = unary_cost(z, model, p, case.shape)
                mask = graph_cut(unary, p.smoothness, case.spacing, p.connectivity, axes)
                results.setdefault((k, case.subject), []).append(score(mask, case.muscle))
    scores = [[float(np.mean(results[k, subject])) for subject in subjects] for k in range(len(grid))]
    return SearchResult(tuple(grid), subjects, np.array(scores))
