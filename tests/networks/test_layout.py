"""The layout of kernels changes no value beyond rounding, in 2D only."""

import pytest
import torch
from torch import nn
from transeg.networks.layout import channels_last


@pytest.mark.parametrize(("conv", "up"), [(nn.Conv2d, nn.ConvTranspose2d), (nn.Conv3d, nn.ConvTranspose3d)])
def test_kernels_of_2d_convolutions_are_laid_out_channels_last(conv, up):
    torch.manual_seed(0)
    network = nn.Sequential(conv(2, 4, 3, padding=1), nn.ReLU(), nn.Sequential(up(4, 3, 2, stride=2)))
    flat = conv is nn.Conv2d
    image = torch.randn(2, 2, *([8] * (2 if flat else 3)))
    before = network(image)
    assert channels_last(network) is network
    after = network(image)
    torch.testing.assert_close(after, before)
    assert after.is_contiguous(memory_format=torch.channels_last if flat else torch.channels_last_3d) == flat
    weights = [part.weight for part in network.modules() if isinstance(part, conv | up)]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights if flat)
