"""Each loss against a value computed by hand on asymmetric inputs, and its gradient against finite differences."""

import math

import pytest
import torch
from transeg.methods.pathogan.losses import label_agreement, label_size, normal_divergence, region_error, relevancy


@pytest.mark.parametrize(("reduction", "shares"), [("sum", 1), ("mean", 3)])
def test_normal_divergence_by_hand(reduction, shares):
    mean = torch.tensor([[1.0, 0.0, -2.0], [0.0, 0.0, 0.0]])
    log_variance = torch.tensor([[0.0, math.log(4.0), 0.0], [0.0, 0.0, -1.0]])
    first = 0.5 * (1 + 4 + (4 - math.log(4) - 1))
    second = 0.5 * (math.exp(-1) + 1 - 1)
    expected = (first + second) / 2 / shares
    assert normal_divergence(mean, log_variance, reduction).item() == pytest.approx(expected)


def test_normal_divergence_refuses_another_reduction():
    with pytest.raises(ValueError, match="sum or mean"):
        normal_divergence(torch.zeros(1, 1), torch.zeros(1, 1), "batch")


REGION = torch.tensor([[[[1.0, 0.5, 0.0]]], [[[0.25, 0.0, 0.0]]]])
INPAINTING = torch.tensor([[[[1.0, 2.0, 9.0]], [[0.0, 0.0, 0.0]]], [[[2.0, 9.0, 9.0]], [[2.0, 9.0, 9.0]]]])
IMAGE = torch.tensor([[[[0.0, 0.0, 0.0]], [[3.0, -4.0, 0.0]]], [[[0.0, 0.0, 0.0]], [[-2.0, 0.0, 0.0]]]])


def test_region_error_by_hand():
    # squares of m (p - x), mean of the two channels: first image 1 -> (1 + 9) / 2, 0.5 -> (1 + 4) / 2
    first = ((1 + 9) / 2 + (1 + 4) / 2) / 1.5
    second = (0.25 + 1) / 2 / 0.25
    assert region_error(REGION, INPAINTING, IMAGE).item() == pytest.approx((first + second) / 2, rel=1e-5)
    norms = [math.sqrt(7.5) / 1.5, math.sqrt(0.625) / 0.25]
    assert region_error(REGION, INPAINTING, IMAGE, squared=False).item() == pytest.approx(sum(norms) / 2, rel=1e-5)


def test_the_size_of_the_region_is_constant_and_an_empty_one_costs_nothing():
    region = REGION.clone().requires_grad_()
    region_error(region, INPAINTING, IMAGE).backward()
    # d/dm of m^2 (10 / 2) / 1.5 at m = 1, half for the batch of two; a quotient's other part would lower it
    assert region.grad[0, 0, 0, 0].item() == pytest.approx(2 * 5 / 1.5 / 2, rel=1e-5)
    assert region_error(torch.zeros_like(REGION), INPAINTING, IMAGE).item() == 0


def test_label_agreement_by_hand_and_target_is_constant():
    target = torch.tensor([0.75, 0.0], requires_grad=True)
    logits = torch.logit(torch.tensor([0.5, 0.2])).requires_grad_()
    loss = label_agreement(logits, target)
    assert loss.item() == pytest.approx((math.log(2) - math.log(0.8)) / 2)
    loss.backward()
    assert target.grad is None


def test_label_size_by_hand():
    assert label_size(torch.logit(torch.tensor([0.5, 0.2, 0.05]))).item() == pytest.approx(0.25)


def test_relevancy_by_hand_and_the_change_is_constant():
    label = torch.tensor([[[[0.8, 0.1]]], [[[0.4, 0.4]]]])
    image = torch.zeros(2, 2, 1, 2)
    inpainting = torch.tensor([[[[1.0, 0.0]], [[-2.0, 1.0]]], [[[0.0, 0.2]], [[0.0, 0.0]]]]).requires_grad_()
    penalty = -sum(math.log(1 - p * p) for p in (0.8, 0.1, 0.4, 0.4)) / 4
    reward = [(0.8 * 1.5 + 0.1 * 0.5) / 0.9, 0.4 * 0.1 / 0.8]
    loss = relevancy(torch.logit(label).requires_grad_(), inpainting, image)
    assert loss.item() == pytest.approx(penalty - sum(reward) / 2, rel=1e-5)
    loss.backward()
    assert inpainting.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_relevancy_stays_finite_at_extreme_logits(dtype):
    logits = torch.tensor([50.0, -50.0, 0.0], dtype=dtype).reshape(1, 1, 1, 3).requires_grad_()
    loss = relevancy(logits, torch.ones(1, 2, 1, 3, dtype=dtype), torch.zeros(1, 2, 1, 3, dtype=dtype))
    # -log(1 - l^2): at 50 it is 50 - log 2, at -50 zero, at 0 -log(3/4); the reward is 1
    assert loss.item() == pytest.approx((50 - math.log(2) - math.log(0.75)) / 3 - 1, rel=1e-3)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[0, 0, 0, 0] > 0
    empty = relevancy(torch.full((1, 1, 1, 3), -50.0, dtype=dtype), torch.ones(1, 1, 1, 3), torch.zeros(1, 1, 1, 3))
    assert empty.isfinite()


CONSTANT = torch.tensor([1.0, 0.0, 0.0, 1.0, 1.0, 0.0], dtype=torch.double)


def _map(x):
    return x.reshape(2, 1, 1, 3)


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [
        (lambda a, b: normal_divergence(a.reshape(2, 3), b.reshape(2, 3)), 2),
        (lambda a: region_error(_map(CONSTANT), _map(a), _map(CONSTANT)), 1),
        (lambda a: region_error(_map(CONSTANT), _map(a), _map(CONSTANT), squared=False), 1),
        (lambda a: label_agreement(a, CONSTANT), 1),
        (label_size, 1),
        (lambda a: relevancy(_map(a), _map(CONSTANT), _map(2 * CONSTANT)), 1),
    ],
)
def test_gradients(loss, inputs, check_gradient):
    check_gradient(loss, inputs)
