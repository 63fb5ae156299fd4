import numpy as np
import pytest
from transeg.metrics.statistics import bootstrap_interval, describe, paired_difference


def test_interval_of_the_mean():
    rng = np.random.default_rng(1)
    values = rng.normal(3, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20  # of a normal mean
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([0.5]) == (0.5, 0.5)
    assert bootstrap_interval([0.0, 1.0]) == (0.0, 1.0)


def test_description_leaves_out_what_is_undefined():
    found = describe([0.0, np.nan, 1.0, 0.8])
    assert (found["mean"], found["median"], found["n"]) == (pytest.approx(0.6), 0.8, 3)
    assert found["interval"] == [0.0, 1.0]
    assert describe([np.nan]) == describe([]) == {}
    assert describe([0.4]) == {"mean": 0.4, "median": 0.4, "n": 1}


def test_pairs_tell_a_small_but_constant_difference():
    values = np.linspace(0.1, 0.9, 9)
    assert paired_difference(values + 0.02, values) == {"mean": 0.02, "interval": [0.02, 0.02], "n": 9}
    assert paired_difference([0.5, 0.5], [0.5, 0.7])["interval"] == [-0.2, 0.0]
