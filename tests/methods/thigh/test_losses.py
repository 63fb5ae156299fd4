import pytest
import torch
from transeg.methods.thigh.losses import brightening, darkening


def test_domain_loss_by_hand_and_source_is_constant():
    source = torch.tensor([1.0, -2.0, 4.0, 0.0], requires_grad=True)
    translation = torch.tensor([3.0, -2.5, 4.0, 0.5], requires_grad=True)
    assert brightening(translation, source).item() == pytest.approx((2 + 0.5) / 4)
    assert darkening(translation, source).item() == pytest.approx(0.5 / 4)
    brightening(translation, source).backward()
    torch.testing.assert_close(translation.grad, torch.tensor([0.25, 0, 0, 0.25]))
    assert source.grad is None


@pytest.mark.parametrize("loss", [brightening, darkening])
def test_gradients(loss, check_gradient):
    source = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.double)
    check_gradient(lambda a: loss(a, source), 1)
