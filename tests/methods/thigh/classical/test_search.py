"""The search leaves the subject out, of the model and of the choice."""

import numpy as np
import pytest
from transeg.methods.thigh.classical.intensity import count_intensities, learn_intensity
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.methods.thigh.classical.search import Case, SearchResult, grid_search, leave_one_out, paper_grid
from transeg.methods.thigh.classical.spgc import CutParameters
from transeg.metrics.overlap import dice

from tests.methods.thigh.classical.thighs import thighs


def cases(count=3):
    found = []
    for k in range(count):
        image, muscle = thighs((64, 44, 3), 0.4, seed=k)
        shape = 0.8 * thighs((64, 44, 3), seed=k + 10)[1].astype(np.float32)
        found.append(Case(f"s{k}", fit_mixture(image).normalise(image), muscle, (2.0, 2.0, 7.0), shape))
    return found


def test_the_paper_s_values():
    assert len(paper_grid(False)) == 6 * 2
    grid = paper_grid(True, scale="log")
    assert len(set(grid)) == 6 * 2 * 5 * 4
    assert {p.scale for p in grid} == {"log"}
    assert {p.smoothness for p in grid} == {0.001, 0.002, 0.05, 0.1, 0.2, 0.5}


def test_the_model_never_saw_the_subject():
    scans = cases()
    parameters = CutParameters(sigma=0.0)
    for k, (case, model) in enumerate(leave_one_out(scans, parameters)):
        rest = [count_intensities(other.z, other.muscle) for j, other in enumerate(scans) if j != k]
        assert case is scans[k]
        assert model == learn_intensity(rest)
    with pytest.raises(ValueError, match="two"):
        list(leave_one_out(scans[:1], parameters))


def test_search_finds_the_better_parameters():
    grid = (
        CutParameters(smoothness=0.001),
        CutParameters(smoothness=0.2, shape_weight=1.0, neutral=0.4),
        CutParameters(smoothness=50.0),
    )
    result = grid_search(cases(), grid, dice, scored=("s0", "s2"))
    assert result.subjects == ("s0", "s2")
    assert result.best == grid[1]
    assert result.table()[0]["mean"] == pytest.approx(result.scores[1].mean())
    assert result.table()[0]["shape_weight"] == 1.0
    assert result.scores[2] == pytest.approx(0)  # all background
    with pytest.raises(ValueError, match="at least one"):
        grid_search(cases(), (), dice)


def test_the_choice_leaves_the_subject_out():
    grid = paper_grid(False)[:2]
    result = SearchResult(grid, ("a", "b", "c"), np.array([[0.9, 0.1, 0.5], [0.4, 0.4, 0.4]]))
    assert result.best == grid[0]
    assert result.held_out() == {"a": (grid[1], 0.4), "b": (grid[0], 0.1), "c": (grid[0], 0.5)}
