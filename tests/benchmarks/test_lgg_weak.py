"""Comparison with image-level labels: what needs no network, and the scores."""

import numpy as np
import pytest
from transeg.metrics.presence import areas_above, best_operating_point

from benchmarks.lgg import score
from benchmarks.lgg_weak import INTENSITIES, apply_threshold, best_threshold


def test_the_threshold_that_agrees_best_with_yes_and_no():
    flair = np.full((10, 10, 6), 0.4)
    flair[:2, :2, :] = 0.9  # bright in every slice
    flair[4:8, 4:8, 2:5] = 0.8  # the tumour
    shown = np.array([False, False, True, True, True, False])
    limit, least, _ = best_operating_point(areas_above(flair, INTENSITIES), shown, INTENSITIES)
    found = apply_threshold(flair, limit, least)
    assert np.array_equal(found.any((0, 1)), shown)
    assert np.array_equal(found[4:8, 4:8], np.broadcast_to(shown, (4, 4, 6)))


def test_scores_by_hand():
    reference, mask = np.zeros((2, 2, 4), bool), np.zeros((2, 2, 4), bool)
    reference[0, :, :2] = True  # in two slices
    mask[0, 0, 1:3] = True  # one hit, and one false alarm among two slices
    scores = score([mask], [reference])
    assert scores["dice"][0] == pytest.approx(2 * 1 / (2 + 4))
    assert scores["false_alarms"] == [0.5]
    assert scores["sensitivity"] == [0.5]


def test_the_best_threshold_in_marked_slices():
    rng = np.random.default_rng(0)
    references = [np.zeros((8, 8, 4), bool) for _ in range(2)]
    flairs = [0.3 * rng.random((8, 8, 4)) for _ in references]
    for flair, mask in zip(flairs, references, strict=True):
        mask[2:5, 2:5, 1:3] = True
        flair[mask] = 0.6
        flair[6:, 6:] = 0.9  # bright beside it
        flair[..., 3] = 0.95  # and in a slice without it
    found = best_threshold(flairs, [np.array([True, True, True, False])] * 2, references)
    for one, mask in zip(found, references, strict=True):
        assert not one[..., 3].any()
        assert np.array_equal(one[:6, :6], mask[:6, :6])
        assert one[6:, 6:, :3].all()
