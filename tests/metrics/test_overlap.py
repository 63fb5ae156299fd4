import math

import numpy as np
import pytest
from transeg.metrics.overlap import dice, false_alarm_rate


def test_dice_by_hand():
    assert dice([[1, 1, 0], [0, 4, 0]], [[0, 1, 1], [0, 0, 0]]) == pytest.approx(2 * 1 / (3 + 2))
    assert dice([0, 1], [0, 0]) == 0
    assert math.isnan(dice([0, 0], [0, 0]))
    with pytest.raises(ValueError, match="shape"):
        dice([[1, 0]], [1, 0])


def test_false_alarms_count_slices_without_lesion():
    predictions = np.zeros((5, 3, 4))
    predictions[0, 0, 0] = predictions[1] = predictions[4, 2, 3] = 1
    labels = np.zeros((5, 3, 4))
    labels[1, 1, 1] = labels[2, 0, 0] = 1
    assert false_alarm_rate(predictions) == pytest.approx(3 / 5)
    assert false_alarm_rate(predictions, labels) == pytest.approx(2 / 3)  # slices 0, 3, 4
    assert math.isnan(false_alarm_rate(predictions[1:2], labels[1:2]))
