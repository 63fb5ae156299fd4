"""Slices of a case become stacks and items of both domains."""

import numpy as np
import pytest
from transeg.data.slices import CaseSlices, slices_between, write_slices

IMAGES = np.arange(24.0).reshape(3, 1, 2, 4)
LABELS = np.zeros((3, 2, 4))
LABELS[1, 0, 0] = 1
FIELDS = [{"z": z} for z in (5, 6, 7)]


@pytest.mark.parametrize(("present", "shown"), [(None, [6]), (True, [5, 6, 7]), (False, [])])
def test_domains(tmp_path, present, shown):
    presence, absence = write_slices(tmp_path, "a", CaseSlices(IMAGES, LABELS, FIELDS, {}, present))
    assert [item["z"] for item in presence] == shown
    assert sorted(item["z"] for item in presence + absence) == [5, 6, 7]
    for item in presence + absence:
        assert item == {"image": "images/a.npy", "index": item["z"] - 5, "case": "a", "z": item["z"]}
    np.testing.assert_array_equal(np.load(tmp_path / "images/a.npy"), IMAGES.astype(np.float16))
    np.testing.assert_array_equal(np.load(tmp_path / "labels/a.npy"), LABELS.astype(np.uint8))


def test_a_case_without_label_or_slices_writes_no_such_stack(tmp_path):
    _, absence = write_slices(tmp_path, "a", CaseSlices(IMAGES, None, FIELDS, {}, False))
    assert len(absence) == 3
    assert not (tmp_path / "labels").exists()
    assert write_slices(tmp_path / "b", "b", CaseSlices(IMAGES[:0], LABELS[:0], [], {})) == ([], [])
    assert not (tmp_path / "b").exists()


def test_heights():
    assert slices_between(155, 1.0, 60.0, 100.0) == list(range(60, 101))
    assert slices_between(77, 2.0, 60.0, 100.0) == list(range(30, 51))
    assert slices_between(30, 1.1, 3.3, 6.7) == [3, 4, 5, 6]  # 3 x 1.1 is 3.3000000000000003
    assert slices_between(20, 2.0, 60.0, 100.0) == []
    assert slices_between(4, 2.0, 2.0, None) == [1, 2, 3]
