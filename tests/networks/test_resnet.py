import pytest
import torch
from transeg.networks.resnet import ResNetGenerator


@pytest.mark.parametrize(("channels", "parameters"), [(1, 11_365_633), (3, 11_378_179)])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_generator_has_the_published_size(channels, parameters, upsampling):
    network = ResNetGenerator(2, channels, channels, upsampling=upsampling)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize(("dims", "size"), [(2, (20, 27)), (3, (9, 12, 14))])
def test_any_size_comes_back_and_scripts(dims, size, upsampling):
    torch.manual_seed(0)
    net = ResNetGenerator(dims, width=4, blocks=2, upsampling=upsampling).eval()
    image = torch.randn(2, 1, *size)
    out = net(image)
    assert out.shape == image.shape
    assert out.abs().max() <= 1
    torch.testing.assert_close(torch.jit.script(net)(image), out)
    torch.testing.assert_close(net(image[1:]), out[1:])  # no sample sees another


def test_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="transposed or resize"):
        ResNetGenerator(upsampling="bilinear")


def test_a_residual_generator_adds_to_the_image():
    torch.manual_seed(0)
    plain = ResNetGenerator(2, width=4, blocks=1)
    residual = ResNetGenerator(2, width=4, blocks=1, residual=True)
    residual.load_state_dict(plain.state_dict())  # no parameter of its own
    image = torch.rand(2, 1, 20, 27) * 2 - 1
    torch.testing.assert_close(residual(image), (image + plain(image)).clamp(-1, 1))
    torch.testing.assert_close(torch.jit.script(residual)(image), residual(image))
    last = residual.layers[-2]
    for parameter in last.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(residual(image), image)
    with pytest.raises(ValueError, match="2 channels cannot be added to 1"):
        ResNetGenerator(2, 2, 1, residual=True)
