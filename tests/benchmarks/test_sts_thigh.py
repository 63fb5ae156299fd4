"""Comparison on real muscle with simulated infiltration: folds and scores."""

import numpy as np
import pytest

from benchmarks.sts_thigh import DEVELOPMENT, SETTINGS, SLICES, draw_folds, score, summary


def test_each_patient_is_tested_once_unless_settings_were_chosen_on_it():
    folds = draw_folds(1, 2)
    assert sorted([*DEVELOPMENT, *(case for fold in folds for case in fold["test"])]) == sorted(SLICES)
    for fold in folds:
        assert sorted(case for part in fold.values() for case in part) == sorted(SLICES)
        assert len(fold["test"]) == len(fold["hard"]) == len(fold["easy"]) == 5
    assert draw_folds(2, 2) != folds


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
    assert figures["residual"]["dice"] == 0.35
    assert figures["residual"]["seeds"] == [0.3, 0.4]
    found = figures["difference"]["residual - mixture on the original"]
    assert found == {"mean": 0.3, "interval": [0.3, 0.3], "n": len(SLICES)}
