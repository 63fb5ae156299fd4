"""Comparison on real muscle with simulated infiltration: folds and scores."""

import numpy as np
import pytest

from benchmarks.sts_thigh import SETTINGS, SLICES, draw_folds, score, summary


def test_each_patient_is_tested_once_and_is_in_one_domain():
    folds = draw_folds(1, 3)
    assert sorted(case for fold in folds for case in fold["test"]) == sorted(SLICES)
    for fold in folds:
        assert sorted(case for part in fold.values() for case in part) == sorted(SLICES)
        assert len(fold["test"]) == len(fold["hard"]) == len(fold["easy"]) == 5
    assert draw_folds(2, 3) != folds


def test_scores_by_hand():
    muscle, fascia, found = (np.zeros((1, 1, 8), bool) for _ in range(3))
    muscle[..., :4], fascia[..., :6], found[..., 2:5] = True, True, True
    fat = np.array([0, 0.6, 0, 0.6, 0, 0, 0, 0]).reshape(1, 1, 8)
    scores = score(found, muscle, fascia, fat)
    assert scores == {
        "dice": pytest.approx(2 * 2 / (3 + 4)),
        "sensitivity": 0.5,
        "specificity": 0.5,
        "lean muscle found": 0.5,
        "fatty muscle found": 0.5,
    }


def test_means_and_differences_over_repetitions():
    names = ["mixture on the original", *SETTINGS, "hull of it", *(f"{name}, within the hull" for name in SETTINGS)]
    one = {
        name: {case: dict.fromkeys(("dice", "specificity", "lean muscle found"), 0.1 * k) for case in SLICES}
        for k, name in enumerate(names)
    }
    other = {
        name: {case: {key: value + 0.1 for key, value in s.items()} for case, s in by.items()}
        for name, by in one.items()
    }
    figures = summary([one, other])
    assert figures["G .5,1"]["dice"] == 0.25
    assert figures["G .5,1"]["seeds"] == [0.2, 0.3]
    found = figures["difference"]["G .5,1 - mixture on the original"]
    assert found == {"mean": 0.2, "interval": [0.2, 0.2], "n": len(SLICES)}
