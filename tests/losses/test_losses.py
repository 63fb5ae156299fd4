"""Each loss against a value computed by hand on asymmetric inputs, and its gradient against finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from transeg.losses import (
    absolute_error,
    brightening,
    cross_entropy_discriminator,
    cross_entropy_generator,
    darkening,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
    mutual_information_bound,
    prediction_consistency,
    soft_dice,
)


def test_hinge_discriminator_by_hand():
    real = [torch.tensor([[2.0, 0.5]]), torch.tensor([[-1.0]])]  # relu(1 - D): 0, 0.5 | 2
    fake = [torch.tensor([[-3.0, 0.0]]), torch.tensor([[0.5]])]  # relu(1 + D): 0, 1 | 1.5
    assert hinge_discriminator(real, fake).item() == pytest.approx((0.25 + 0.5 + 2 + 1.5) / 2)


def test_hinge_generator_by_hand():
    fake = [torch.tensor([[1.0, 3.0]]), torch.tensor([[-5.0]])]
    assert hinge_generator(fake).item() == pytest.approx(-(2 - 5) / 2)


def test_least_squares_by_hand():
    real = [torch.tensor([[2.0, 0.5]]), torch.tensor([[-1.0]])]  # (D - 1)^2: 1, 0.25 | 4
    fake = [torch.tensor([[-3.0, 0.0]]), torch.tensor([[0.5]])]  # D^2: 9, 0 | 0.25
    assert least_squares_discriminator(real, fake).item() == pytest.approx(((0.625 + 4.5) / 2 + (4 + 0.25) / 2) / 2)
    assert least_squares_generator(fake).item() == pytest.approx(((16 + 1) / 2 + 0.25) / 2)


def test_cross_entropy_by_hand_and_finite_far_out():
    probability = [torch.tensor([0.8, 0.3]), torch.tensor([0.1])]
    logits = [torch.logit(p) for p in probability]
    log = math.log
    real = (-(log(0.8) + log(0.3)) / 2 - log(0.1)) / 2
    fake = (-(log(0.2) + log(0.7)) / 2 - log(0.9)) / 2
    assert cross_entropy_discriminator(logits, logits).item() == pytest.approx(real + fake)
    assert cross_entropy_generator(logits).item() == pytest.approx(real)
    assert cross_entropy_discriminator([torch.tensor([-200.0])], [torch.tensor([200.0])]).item() == pytest.approx(400)


def test_domain_loss_by_hand_and_source_is_constant():
    source = torch.tensor([1.0, -2.0, 4.0, 0.0], requires_grad=True)
    translation = torch.tensor([3.0, -2.5, 4.0, 0.5], requires_grad=True)
    assert brightening(translation, source).item() == pytest.approx((2 + 0.5) / 4)
    assert darkening(translation, source).item() == pytest.approx(0.5 / 4)
    brightening(translation, source).backward()
    torch.testing.assert_close(translation.grad, torch.tensor([0.25, 0, 0, 0.25]))
    assert source.grad is None


def test_absolute_error_by_hand_and_towards_both_sides():
    a = torch.tensor([1.0, -2.0, 4.0], requires_grad=True)
    b = torch.tensor([0.0, 1.0, 4.5], requires_grad=True)
    loss = absolute_error(a, b)
    assert loss.item() == pytest.approx((1 + 3 + 0.5) / 3)
    loss.backward()
    torch.testing.assert_close(a.grad, torch.tensor([1.0, -1.0, -1.0]) / 3)
    torch.testing.assert_close(b.grad, -a.grad)


def test_soft_dice_is_pooled_over_the_batch():
    logits = torch.logit(torch.tensor([[[[0.9, 0.2]]], [[[0.5, 0.6]]]]))
    reference = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    expected = 1 - (2 * (0.9 + 0.6) + 1) / (2 + 2.2 + 1)
    assert soft_dice(logits, reference).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_averages_over_classes():
    logits = torch.logit(torch.tensor([[[[0.9]], [[0.25]]]]))
    reference = torch.tensor([[[[1.0]], [[0.0]]]])
    expected = (1 - 2.8 / 2.9 + 1 - 1 / 1.25) / 2
    assert soft_dice(logits, reference).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_of_no_labelled_sample_is_zero():
    assert soft_dice(torch.empty(0, 1, 4, 4), torch.empty(0, 1, 4, 4)).item() == 0


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


CONSTANT = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.double)


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (lambda a, b: hinge_discriminator([a], [b]), 2),
        (lambda a: hinge_generator([a]), 1),
        (lambda a, b: least_squares_discriminator([a], [b]), 2),
        (lambda a: least_squares_generator([a]), 1),
        (lambda a, b: cross_entropy_discriminator([a], [b]), 2),
        (lambda a: cross_entropy_generator([a]), 1),
        (lambda a: brightening(a, CONSTANT), 1),
        (lambda a: darkening(a, CONSTANT), 1),
        (absolute_error, 2),
        (lambda a: soft_dice(a.reshape(1, 1, -1), CONSTANT.reshape(1, 1, -1)), 1),
        (lambda a: prediction_consistency(a, CONSTANT), 1),
        (mutual_information_bound, 2),
    ],
)
def test_gradients(loss, inputs):
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(6, generator=generator, dtype=torch.double, requires_grad=True) for _ in range(inputs)]
    assert gradcheck(loss, values)
