import math

import numpy as np
import pytest
from transeg.methods.pathogan.slice_scores import score_patient, summarise_patients


def patient(depth=6):
    """A prediction and a label of 8 x 6 pixels; what slice 0 to 5 hold is told in the tests."""
    prediction, label = np.zeros((8, 6, depth)), np.zeros((8, 6, depth))
    label[1:5, 2, 1] = 1  # 4 pixels, the prediction has the first two and one 3 beyond the last
    prediction[[1, 2, 7], 2, 1] = 1
    label[2:6, 1:3, 2] = 1  # 8 pixels that are missed
    prediction[0, 0, 3] = prediction[5, 5, 3] = 1  # a false alarm
    label[0, 0:3, 4] = prediction[0, 0:3, 4] = 1  # 3 pixels: neither pathological nor healthy
    return prediction, label


def test_slices_by_hand():
    score = score_patient(*patient(), min_pixels=3)
    assert [s.z for s in score.slices] == [0, 1, 2, 3, 5]
    assert score.left_out == 1
    healthy, hit, missed, alarm, _ = score.slices
    assert hit[:4] == (1, True, 4, 3)
    assert hit.dice == pytest.approx(2 * 2 / (3 + 4))
    # prediction to label: 0, 0, 3; label to prediction: 0, 0, 1, 2
    assert hit.avd == pytest.approx(1)
    assert hit.hd95 == pytest.approx(0.9 * 3)
    assert missed[:4] == (2, True, 8, 0)
    assert (missed.dice, missed.hd95, missed.avd) == (0, 10, 10)
    assert (missed.empty_prediction, missed.false_alarm) == (True, False)
    assert alarm[:4] == (3, False, 0, 2)
    assert (alarm.empty_prediction, alarm.false_alarm) == (False, True)
    assert all(map(math.isnan, (alarm.dice, alarm.hd95, alarm.avd)))
    assert not any((healthy.pathological, healthy.false_alarm, hit.empty_prediction))
    assert score.dice == pytest.approx(2 * 2 / (3 + 12))  # slices 1 and 2
    assert score.dice_all == pytest.approx(2 * 5 / (8 + 15))


def test_only_the_slices_asked_for():
    score = score_patient(*patient(), slices=[1, 3], min_pixels=3)
    assert [s.z for s in score.slices] == [1, 3]
    assert score.dice == pytest.approx(4 / 7)
    assert score.dice_all == pytest.approx(2 * 2 / (5 + 4))
    assert math.isnan(score_patient(*patient(), slices=[0, 3]).dice)
    assert score_patient(*patient(), slices=[1], min_pixels=4).slices == ()  # not more than 4
    with pytest.raises(IndexError):
        score_patient(*patient(), slices=[6])
    with pytest.raises(ValueError, match="one shape"):
        score_patient(patient(6)[0], patient(7)[1])


def test_summary_pools_slices_and_drops_none():
    first = score_patient(*patient(), min_pixels=3)
    prediction, label = patient()
    label[..., 2] = 0
    second = score_patient(prediction, label, slices=[0, 1, 2], min_pixels=3)
    healthy = score_patient(np.zeros((8, 6, 2)), np.zeros((8, 6, 2)))
    summary = summarise_patients([first, second, healthy])
    assert (summary.patients, summary.pathological_slices, summary.healthy_slices) == (3, 3, 7)
    assert (summary.left_out_slices, summary.empty_predictions, summary.false_alarms) == (1, 1, 1)
    assert summary.false_alarm_rate == pytest.approx(1 / 7)
    assert summary.slice_dice.mean == pytest.approx((4 / 7 + 0 + 4 / 7) / 3)
    assert summary.slice_dice.std == pytest.approx(4 / 7 * np.sqrt(2) / 3)
    assert summary.slice_dice.median == pytest.approx(4 / 7)
    assert summary.slice_avd.mean == pytest.approx((1 + 10 + 1) / 3)
    assert summary.slice_hd95.mean == pytest.approx((2.7 + 10 + 2.7) / 3)
    assert summary.patient_dice.mean == pytest.approx((4 / 15 + 4 / 7) / 2)  # the third has no pathological slice
    nothing = summarise_patients([])
    assert nothing.patients == 0
    assert all(map(math.isnan, (nothing.false_alarm_rate, nothing.patient_dice.mean)))
