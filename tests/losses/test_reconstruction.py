import pytest
import torch
from transeg.losses.reconstruction import absolute_error


def test_absolute_error_by_hand_and_towards_both_sides():
    a = torch.tensor([1.0, -2.0, 4.0], requires_grad=True)
    b = torch.tensor([0.0, 1.0, 4.5], requires_grad=True)
    loss = absolute_error(a, b)
    assert loss.item() == pytest.approx((1 + 3 + 0.5) / 3)
    loss.backward()
    torch.testing.assert_close(a.grad, torch.tensor([1.0, -1.0, -1.0]) / 3)
    torch.testing.assert_close(b.grad, -a.grad)


def test_gradient(check_gradient):
    check_gradient(absolute_error, 2)
