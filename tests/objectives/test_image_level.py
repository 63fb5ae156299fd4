"""Classification by a map of evidence: values by hand, gradients, and a lesion that is found from yes and no."""

import math

import pytest
import torch
from torch import nn
from transeg.networks.classifier import ActivationMapNet
from transeg.objectives.image_level import ImageLevelObjective

SAME = {"generator": nn.Identity()}


@pytest.mark.parametrize("sharpness", [0.0, 2.0])
def test_value_by_hand(sharpness):
    presence, absence = torch.tensor([[[[1.0, 3.0]]]]), torch.tensor([[[[-1.0, 0.0]]]])

    def pooled(a, b):
        mean = (math.exp(sharpness * a) + math.exp(sharpness * b)) / 2
        return math.log(mean) / sharpness if sharpness else (a + b) / 2

    expected = (math.log1p(math.exp(-pooled(1, 3))) + math.log1p(math.exp(pooled(-1, 0)))) / 2
    objective = ImageLevelObjective(sharpness)
    terms = objective.generators(SAME, objective.forward(SAME, {"image": presence, "absence": absence}))
    assert terms["presence"].item() == pytest.approx(expected, rel=1e-5)


def test_gradient():
    objective = ImageLevelObjective(3.0)

    def value(image, absence):
        return objective.generators(SAME, objective.forward(SAME, {"image": image, "absence": absence}))["presence"]

    images = [torch.randn(n, 1, 3, 3, dtype=torch.double, requires_grad=True) for n in (2, 1)]
    assert torch.autograd.gradcheck(value, images)


def test_negative_sharpness_is_refused():
    with pytest.raises(ValueError, match="sharpness"):
        ImageLevelObjective(-1)


def test_evidence_lies_where_the_lesion_is():
    torch.manual_seed(0)
    nets = {"generator": ActivationMapNet(width=4)}
    objective, optimizer = ImageLevelObjective(4.0), torch.optim.Adam(nets["generator"].parameters(), 0.01)
    places = torch.zeros(8, 1, 32, 32)
    for k in range(8):
        places[k, 0, 4 + 2 * k : 12 + 2 * k, 20 - 2 * k : 28 - 2 * k] = 1
    for _ in range(40):
        noise = torch.randn(2, 8, 1, 32, 32)
        t = objective.forward(nets, {"image": noise[0] + 3 * places, "absence": noise[1]})
        optimizer.zero_grad()
        objective.generators(nets, t)["presence"].backward()
        optimizer.step()
    found = nets["generator"](torch.randn(8, 1, 32, 32) + 3 * places) > 0
    overlap = (found & (places > 0)).sum() / (places > 0).sum()
    assert overlap > 0.5
    assert found.float().mean() < 0.5
