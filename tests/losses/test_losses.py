"""Each loss against a value computed by hand on asymmetric inputs, and its gradient against finite differences."""

import math

import pytest
import torch
from torch.autograd import gradcheck
from transeg.losses.adversarial import (
    cross_entropy_discriminator,
    cross_entropy_generator,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from transeg.losses.reconstruction import absolute_error
from transeg.losses.segmentation import soft_dice
from transeg.methods.cardiac.losses import voxel_cross_entropy
from transeg.methods.genseg.losses import mutual_information_bound, prediction_consistency
from transeg.methods.pathogan.losses import label_agreement, label_size, normal_divergence, region_error, relevancy
from transeg.methods.thigh.losses import brightening, darkening


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


def test_voxel_cross_entropy_by_hand():
    probability = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])  # of two voxels
    logits = probability.log().T.reshape(1, 3, 2) + 5  # of any size, the differences count
    for label in (torch.tensor([[[0, 1]]]), torch.tensor([[[0.0, 1.0]]])):
        assert voxel_cross_entropy(logits, label).item() == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    half = torch.tensor([[[30000.0], [-30000.0], [0.0]]], dtype=torch.float16)
    assert voxel_cross_entropy(half, torch.tensor([[[1]]])).item() == pytest.approx(60000)


def test_voxel_cross_entropy_refuses_labels_without_a_class():
    with pytest.raises(IndexError, match="420"):
        voxel_cross_entropy(torch.zeros(1, 6, 2), torch.tensor([[[0, 420]]]))


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
        (lambda a: voxel_cross_entropy(a.reshape(1, 3, 2), torch.tensor([[[2, 0]]])), 1),
        (lambda a: prediction_consistency(a, CONSTANT), 1),
        (mutual_information_bound, 2),
        (lambda a, b: normal_divergence(a.reshape(2, 3), b.reshape(2, 3)), 2),
        (lambda a: region_error(_map(CONSTANT), _map(a), _map(CONSTANT)), 1),
        (lambda a: region_error(_map(CONSTANT), _map(a), _map(CONSTANT), squared=False), 1),
        (lambda a: label_agreement(a, CONSTANT), 1),
        (label_size, 1),
        (lambda a: relevancy(_map(a), _map(CONSTANT), _map(2 * CONSTANT)), 1),
    ],
)
def test_gradients(loss, inputs):
    generator = torch.Generator().manual_seed(3)
    values = [torch.randn(6, generator=generator, dtype=torch.double, requires_grad=True) for _ in range(inputs)]
    assert gradcheck(loss, values)
