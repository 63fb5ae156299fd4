"""Muscle found in a limb, and fat simulated in it."""

import numpy as np
import pytest
from transeg.metrics.overlap import dice

from benchmarks.infiltration import FAT, SHARES, find_muscle, infiltrate

SPACING = (1.0, 1.0, 3.0)


@pytest.fixture(scope="module")
def limb():
    """Image and muscle: fat under the skin, muscle with a strip of fat in it, and a bone with marrow."""
    x, y = np.meshgrid(np.arange(120) - 60.0, np.arange(120) - 60.0, indexing="ij")
    radius, bone = np.hypot(x, y), np.hypot(x - 10, y)
    muscle = (radius < 40) & (bone > 14) & (np.abs(y + 20) > 3)
    plane = np.where(radius < 52, FAT, 5.0)
    plane[muscle] = 300
    plane[(bone <= 14) & (bone > 9)] = 40
    noise = np.random.default_rng(0).normal(0, 15, (120, 120, 6))
    return np.abs(plane[..., None] + noise).astype(np.float32), np.repeat(muscle[..., None], 6, axis=2)


def test_muscle_is_neither_bone_nor_fat_nor_the_rims_between_them(limb):
    image, muscle = limb
    found = find_muscle(image, SPACING)
    assert dice(found, muscle) > 0.97
    assert not found[60:80, 58:62].any(), "bone and its rims"


@pytest.mark.parametrize("grade", SHARES)
def test_the_share_of_fat_is_that_of_the_grade_and_the_rest_stays(limb, grade):
    image, muscle = limb
    low, high = SHARES[grade]
    found = infiltrate(image, muscle, SPACING, grade, np.random.default_rng(1))
    assert low - 0.05 < found.fat[muscle].mean() < high + 0.05
    assert np.array_equal(found.image[~muscle], image[~muscle])
    assert not found.fat[~muscle].any()
    lean, fatty = muscle & (found.fat < 0.01), muscle & (found.fat > 0.95)
    assert np.abs(found.image[lean] - image[lean]).mean() < 15
    assert 0.85 * FAT < found.image[fatty].mean() < 1.05 * FAT
    again = infiltrate(image, muscle, SPACING, grade, np.random.default_rng(1))
    assert np.array_equal(again.image, found.image)


def test_fat_begins_along_the_fascia(limb):
    image, muscle = limb
    fat = infiltrate(image, muscle, SPACING, "moderate", np.random.default_rng(2)).fat
    edge = muscle & ~np.roll(muscle, 3, axis=1)
    assert fat[edge].mean() > fat[muscle].mean()
