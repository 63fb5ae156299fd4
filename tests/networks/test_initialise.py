import pytest
import torch
from transeg.networks.resnet import ResNetGenerator


def test_initial_weights_are_small_and_centred():
    torch.manual_seed(0)
    net = ResNetGenerator(width=16, blocks=2)
    weights = torch.cat([p.flatten() for name, p in net.named_parameters() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))
