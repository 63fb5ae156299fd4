import pytest
import torch
from transeg.networks.discriminators import MultiScaleDiscriminator


@pytest.mark.parametrize(
    ("channels", "widths", "parameters"), [(4, (64, 128, 256, 512), 8_279_619), (1, (128, 256, 512), 7_879_299)]
)
def test_parameter_counts_of_the_paper(channels, widths, parameters):
    assert sum(p.numel() for p in MultiScaleDiscriminator(2, channels, widths).parameters()) == parameters


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (48, 64)), (3, (32, 40, 48))])
def test_one_map_per_scale_each_half_the_size(spatial_dims, size):
    maps = MultiScaleDiscriminator(spatial_dims, 1, (4, 8), scales=2)(torch.randn(2, 1, *size))
    assert [tuple(m.shape) for m in maps] == [(2, 1, *(s // 4 for s in size)), (2, 1, *(s // 8 for s in size))]


def test_each_sample_is_judged_on_its_own():
    net = MultiScaleDiscriminator(2, 1, (4, 8), scales=2)
    x = torch.randn(3, 1, 32, 32)
    for whole, single in zip(net(x), net(x[1:2]), strict=True):
        torch.testing.assert_close(whole[1:2], single)
