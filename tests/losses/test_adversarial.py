"""Each loss against a value computed by hand on asymmetric inputs, and its gradient against finite differences."""

import math

import pytest
import torch
from transeg.losses.adversarial import (
    cross_entropy_discriminator,
    cross_entropy_generator,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
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


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (lambda a, b: hinge_discriminator([a], [b]), 2),
        (lambda a: hinge_generator([a]), 1),
        (lambda a, b: least_squares_discriminator([a], [b]), 2),
        (lambda a: least_squares_generator([a]), 1),
        (lambda a, b: cross_entropy_discriminator([a], [b]), 2),
        (lambda a: cross_entropy_generator([a]), 1),
    ],
)
def test_gradients(loss, inputs, check_gradient):
    check_gradient(loss, inputs)
