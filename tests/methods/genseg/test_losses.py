import math

import pytest
import torch
from transeg.methods.genseg.losses import mutual_information_bound, prediction_consistency


def test_prediction_consistency_by_hand_and_teacher_is_constant():
    student = torch.tensor([0.0, 2.0], requires_grad=True)
    teacher = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = prediction_consistency(student, teacher)
    assert loss.item() == pytest.approx((0.5 - 1 / (1 + math.exp(-1))) ** 2 / 2)
    loss.backward()
    assert teacher.grad is None
    assert student.grad[0] < 0


def test_mutual_information_bound_by_hand():
    joint, marginal = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0, -1.0])
    expected = 1.5 - math.log((1 + math.e + 1 / math.e) / 3)
    assert mutual_information_bound(joint, marginal).item() == pytest.approx(expected)


TEACHER = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.double)


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (lambda a: prediction_consistency(a, TEACHER), 1),
        (mutual_information_bound, 2),
    ],
)
def test_gradients(loss, inputs, check_gradient):
    check_gradient(loss, inputs)
