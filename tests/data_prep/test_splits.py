from collections import Counter

import pytest
from transeg.data.table import Case

from data_prep.splits import split_patients

CASES = [Case(f"h{i}", group="HGG") for i in range(40)] + [Case(f"l{i}", group="LGG") for i in range(20)]


def test_shares_with_groups_in_proportion():
    splits = split_patients(CASES, 0.1, 0.1, seed=3)
    assert Counter((split, name[0]) for name, split in splits.items()) == {
        ("training", "h"): 32,
        ("training", "l"): 16,
        ("validation", "h"): 4,
        ("validation", "l"): 2,
        ("test", "h"): 4,
        ("test", "l"): 2,
    }


def test_the_seed_decides_and_the_order_of_the_cases_does_not():
    first = split_patients(CASES, 0.1, 0.1, seed=0)
    assert split_patients(CASES[::-1], 0.1, 0.1, seed=0) == first
    assert split_patients(CASES, 0.1, 0.1, seed=1) != first


def test_scans_of_a_patient_stay_together():
    cases = [Case(f"p{i}-{scan}", patient=f"p{i}") for i in range(10) for scan in range(3)]
    splits = split_patients(cases, 0.2, 3, seed=0)
    assert all(len({splits[f"p{i}-{scan}"] for scan in range(3)}) == 1 for i in range(10))
    assert Counter(splits.values()) == {"training": 15, "validation": 6, "test": 9}


def test_named_cases():
    splits = split_patients(CASES[:4], 0, 1, 0, validation_cases=["h2"], test_cases=["h0"])
    assert splits == {"h0": "test", "h1": "training", "h2": "validation", "h3": "training"}


def test_share_gives_at_least_one_and_zero_none():
    assert Counter(split_patients(CASES[:4], 0.1, 0, 0).values()) == {"training": 3, "validation": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_cases": ["x"]}, "no case named x; the cases are: h0"),
        ({"test_cases": ["h0"], "validation_cases": ["h0"]}, "validation and test"),
        ({"test": 60}, "none left for training"),
    ],
)
def test_impossible_splits_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        split_patients(CASES, **{"validation": 0, "test": 0, "seed": 0, **options})
