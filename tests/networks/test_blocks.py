import pytest
import torch
import torch.nn.functional as F
from transeg.networks.blocks import UpsampleConv, make_norm, upsample_nearest


@pytest.mark.parametrize("border", ["reflect", "zero"])
@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (18, 25)), (2, (32, 24)), (3, (9, 7, 8))])
def test_upsample_conv_equals_upsampling_then_convolving(kernel_size, spatial_dims, size, border):
    torch.manual_seed(0)
    module = UpsampleConv(spatial_dims, 3, 4, kernel_size, border).double()
    x = torch.randn(2, 3, *size, dtype=torch.double, requires_grad=True)
    results = []
    for low_resolution in (False, True):
        module.low_resolution = low_resolution
        out = module(x)
        weights = torch.arange(out.numel(), dtype=torch.double).reshape(out.shape).cos()
        results.append([out, *torch.autograd.grad((out * weights).sum(), [x, *module.parameters()])])
    assert results[0][0].shape == (2, 4, *(2 * s for s in size))
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain)


def test_zero_borders_are_those_of_a_padded_convolution():
    module = UpsampleConv(3, 2, 2, 3, "zero")
    x = torch.randn(1, 2, 9, 10, 11)
    expected = F.conv3d(upsample_nearest(x), module.conv.weight, module.conv.bias, padding=1)
    torch.testing.assert_close(module(x), expected)


def test_unknown_border_is_named():
    with pytest.raises(ValueError, match="reflect or zero"):
        UpsampleConv(2, 1, 1, 3, "wrap")


def test_upsample_conv_takes_the_low_resolution_path_for_large_maps():
    module = UpsampleConv(2, 2, 2, 3)
    assert module._at_low_resolution(torch.randn(1, 2, 32, 32)).shape == (1, 2, 64, 64)
    module._at_low_resolution = lambda x: "low"
    assert module(torch.randn(1, 2, 32, 32)) == "low"
    assert module(torch.randn(1, 2, 3, 3)).shape == (1, 2, 6, 6)


def test_layer_norm_has_statistics_per_sample_and_gain_per_channel():
    norm = make_norm("layer", 2, 3)
    x = torch.randn(2, 3, 5, 5) * 4 + 7
    out = norm(x)
    torch.testing.assert_close(out.flatten(1).mean(1), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.flatten(1).std(1, correction=0), torch.ones(2), atol=1e-4, rtol=0)
    assert norm.weight.shape == (3,)


def test_unknown_norm_is_named():
    with pytest.raises(ValueError, match="Unknown norm 'group'"):
        make_norm("group", 2, 3)
