import numpy as np
import pytest
from transeg.metrics.overlap import dice
from transeg.metrics.threshold import best_threshold


def test_separable_values_are_separated():
    image = np.array([0.0, 1.0, 2.0, 5.0, 6.0, 7.0])
    label = np.array([0, 0, 0, 0, 1, 1])
    threshold = best_threshold([image], [label])
    assert dice(image > threshold, label) == 1


def test_it_maximises_the_mean_dice():
    rng = np.random.default_rng(0)
    labels = [rng.random(400) < share for share in (0.1, 0.4)]
    images = [rng.normal(2 * label, 1) for label in labels]

    def mean_dice(t):
        return np.mean([dice(i > t, y) for i, y in zip(images, labels, strict=True)])

    best = best_threshold(images, labels)
    assert mean_dice(best) >= max(mean_dice(t) for t in np.linspace(-2, 4, 40)) - 0.01


def test_without_a_lesion_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match="none has one"):
        best_threshold([np.ones(3)], [np.zeros(3)])
