import pytest
import torch
from transeg.methods.thigh.networks import ThighNet
from transeg.networks.discriminators import PatchGAN
from transeg.networks.resnet import ResNetGenerator


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("channels", "parameters"), [(1, 11_365_633), (3, 11_378_179)])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_generator_has_the_published_size(channels, parameters, upsampling):
    assert count(ResNetGenerator(2, channels, channels, upsampling=upsampling)) == parameters


@pytest.mark.parametrize(("channels", "parameters"), [(1, 2_762_689), (4, 2_765_761)])
def test_discriminator_has_the_published_size_and_map(channels, parameters):
    network = PatchGAN(2, channels)
    assert count(network) == parameters
    (logits,) = network(torch.zeros(1, channels, 256, 256))
    assert logits.shape == (1, 1, 30, 30)


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_a_logit_judges_a_patch_of_the_published_size(layers, field):
    network = PatchGAN(2, 1, width=2, layers=layers, norm="none").double()
    image = torch.randn(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
    (logits,) = network(image)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    touched = image.grad[0, 0].abs().sum(0).nonzero().flatten()
    assert touched[-1] - touched[0] + 1 == field


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize(("dims", "size"), [(2, (20, 27)), (3, (9, 12, 14))])
def test_any_size_comes_back_and_scripts(dims, size, upsampling):
    torch.manual_seed(0)
    net = ThighNet(dims, width=4, blocks=2, upsampling=upsampling).eval()
    image = torch.randn(2, 1, *size)
    out = net(image)
    assert out.shape == image.shape
    assert out.abs().max() <= 1
    scripted = torch.jit.script(net)
    torch.testing.assert_close(scripted(image), out)
    torch.testing.assert_close(scripted.reverse(image), net.easy_to_hard(image))
    torch.testing.assert_close(net(image[1:]), out[1:])  # no sample sees another


def test_initial_weights_are_small_and_centred():
    torch.manual_seed(0)
    net = ResNetGenerator(width=16, blocks=2)
    weights = torch.cat([p.flatten() for name, p in net.named_parameters() if name.endswith("weight")])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))


def test_unknown_upsampling_is_refused():
    with pytest.raises(ValueError, match="transposed or resize"):
        ResNetGenerator(upsampling="bilinear")
