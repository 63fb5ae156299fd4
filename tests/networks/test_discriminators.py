import pytest
import torch
from transeg.networks.discriminators import DomainLogits, MultiScaleDiscriminator, PatchGAN


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("channels", "widths", "parameters"), [(4, (64, 128, 256, 512), 8_279_619), (1, (128, 256, 512), 7_879_299)]
)
def test_parameter_counts_of_the_paper(channels, widths, parameters):
    assert count(MultiScaleDiscriminator(2, channels, widths)) == parameters


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (48, 64)), (3, (32, 40, 48))])
def test_one_map_per_scale_each_half_the_size(spatial_dims, size):
    maps = MultiScaleDiscriminator(spatial_dims, 1, (4, 8), scales=2)(torch.randn(2, 1, *size))
    assert [tuple(m.shape) for m in maps] == [(2, 1, *(s // 4 for s in size)), (2, 1, *(s // 8 for s in size))]


def test_each_sample_is_judged_on_its_own():
    net = MultiScaleDiscriminator(2, 1, (4, 8), scales=2)
    x = torch.randn(3, 1, 32, 32)
    for whole, single in zip(net(x), net(x[1:2]), strict=True):
        torch.testing.assert_close(whole[1:2], single)


@pytest.mark.parametrize(("channels", "parameters"), [(1, 2_762_689), (4, 2_765_761)])
def test_discriminator_has_the_published_size_and_map(channels, parameters):
    network = PatchGAN(2, channels)
    assert count(network) == parameters
    (logits,) = network(torch.zeros(1, channels, 256, 256))
    assert logits.shape == (1, 1, 30, 30)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_judges_a_patch_of_the_published_size(layers, field):
    network = PatchGAN(2, 1, width=2, layers=layers, norm="batch").double().eval()
    image = torch.randn(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    (logits,) = network(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    touched = image.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert touched[-1] - touched[0] + 1 == field


def test_one_discriminator_judges_both_domains():
    torch.manual_seed(0)
    shared = PatchGAN(2, 1, width=4, domains=2)
    healthy, pathological = DomainLogits(shared, 0), DomainLogits(shared, 1)
    image = torch.randn(1, 1, 40, 40)
    ((both,), (a,), (b,)) = shared(image), healthy(image), pathological(image)
    torch.testing.assert_close(torch.cat([a, b], dim=1), both)
    assert {id(p) for p in healthy.parameters()} == {id(p) for p in pathological.parameters()}
