"""Each measure for speed gives the values of the plain way."""

import pytest

from benchmarks.levers import LEVERS, TOLERANCE, compare


@pytest.mark.parametrize("name", LEVERS)
def test_values_agree(name):
    figures = compare(*LEVERS[name](), rounds=1)
    assert figures["plain_ms"] > 0
    assert figures["ours_ms"] > 0
    if name != "augmentation of a batch":  # random
        assert figures["difference"] <= TOLERANCE
