"""Damaged and odd inputs are read right or refused."""

from collections import Counter

import pytest
import SimpleITK as sitk  # noqa: N813

from benchmarks import fuzz


def test_no_faults():
    sitk.ProcessObject.GlobalWarningDisplayOff()
    counts, faults = fuzz.fuzz(60, seed=1)
    assert faults == []
    assert sum(map(Counter.total, counts.values())) == 60
    assert counts["series_odd"]["read"] == counts["series_damaged"]["refused"] == 6


@pytest.mark.parametrize(
    ("must", "right", "error", "expected"),
    [
        ("read", True, None, "read"),
        ("either", False, None, "read wrong"),
        ("refused", True, None, "read though it must be refused"),
        ("either", True, fuzz.UserError("no"), "refused"),
        ("read", True, fuzz.UserError("no"), "refused though it can be read: no"),
        ("refused", True, KeyError("a"), "crashed: KeyError: 'a'"),
    ],
)
def test_outcomes(must, right, error, expected):
    def read():
        if error:
            raise error

    assert fuzz.outcome(fuzz.Trial(read, lambda _: right, must)) == expected
