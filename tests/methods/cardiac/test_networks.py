import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transeg.methods.cardiac.networks import CardiacNet, UNetGenerator, UNetSegmenter
from transeg.networks.blocks import UpsampleConv, upsample_nearest
from transeg.networks.discriminators import PatchGAN


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("width", "generator", "segmenter"), [(8, 546_793, 401_574), (16, 2_185_681, 1_604_934), (32, 8_739_745, 6_417_030)]
)
def test_parameter_counts(width, generator, segmenter):
    assert count(UNetGenerator(width=width)) == generator
    assert count(UNetSegmenter(width=width)) == segmenter


def test_network_of_all_parts_and_discriminator_have_their_size():
    assert count(CardiacNet(width=16)) == 2 * (2_185_681 + 1_604_934)
    assert count(CardiacNet(width=8, segmenter_width=16)) == 2 * (546_793 + 1_604_934)
    assert count(PatchGAN(3, layers=2, width=32)) == 665_825


@pytest.mark.parametrize(("dims", "size"), [(2, (24, 16)), (2, (21, 30)), (3, (16, 24, 16)), (3, (11, 16, 14))])
def test_any_size_comes_back(dims, size):
    torch.manual_seed(0)
    image = torch.randn(2, 1, *size)
    translation, logits = UNetGenerator(dims, width=2)(image), UNetSegmenter(dims, classes=3, width=2)(image)
    assert translation.shape == image.shape
    assert translation.abs().max() <= 1
    assert logits.shape == (2, 3, *size)


def test_odd_sizes_are_those_of_the_padded_volume():
    torch.manual_seed(0)
    net = UNetGenerator(3, width=2)
    image = torch.randn(1, 1, 11, 16, 14)
    padded = torch.cat([image, image[:, :, -1:].expand(-1, -1, 5, -1, -1)], dim=2)
    padded = torch.cat([padded, padded[..., -1:].expand(-1, -1, -1, -1, 2)], dim=4)
    torch.testing.assert_close(net(image), net(padded)[:, :, :11, :, :14])


@pytest.mark.parametrize("kind", [UNetGenerator, UNetSegmenter])
def test_layers_are_those_of_the_paper(kind):
    """The same network written down layer by layer, upsampling first."""
    torch.manual_seed(0)
    net = kind(3, width=2).double()
    image = torch.randn(2, 1, 24, 16, 16, dtype=torch.double)
    convs = iter([module for module in net.modules() if isinstance(module, nn.Conv3d)])

    def conv(x, stride=1):
        x = F.conv3d(x, (layer := next(convs)).weight, layer.bias, stride, padding=1)
        return F.relu(F.instance_norm(x) if kind is UNetGenerator else x)

    x, skips = conv(conv(image)), []
    for _ in range(3):
        skips.append(x)
        x = conv(x, stride=2) if kind is UNetGenerator else F.max_pool3d(x, 2)
        x = conv(conv(x))
    for skip in reversed(skips):
        x = conv(conv(torch.cat([conv(upsample_nearest(x)), skip], dim=1)))
    x = next(convs)(x)
    torch.testing.assert_close(net(image), torch.tanh(x) if kind is UNetGenerator else x)


def test_upsampling_convolutions_work_at_low_resolution():
    net = CardiacNet(width=2)
    modules = [module for module in net.modules() if isinstance(module, UpsampleConv)]
    assert len(modules) == 4 * 3
    assert all(module.low_resolution for module in modules)


def test_initial_logits_are_neither_lost_nor_huge():
    torch.manual_seed(0)
    logits = UNetSegmenter(3, width=8)(torch.rand(1, 1, 24, 24, 24) * 2 - 1)
    assert 0.1 < logits.std() < 3


@pytest.mark.parametrize("dims", [2, 3])
def test_every_part_scripts(dims):
    torch.manual_seed(0)
    net = CardiacNet(dims, classes=4, width=2).eval()
    image = torch.randn(1, 1, *[19, 16, 24][:dims])
    scripted = torch.jit.script(net)
    torch.testing.assert_close(scripted(image), net.s_a(image))
    torch.testing.assert_close(scripted.segment(image, "mr"), net.s_b(image))
    torch.testing.assert_close(scripted.translate(image, "mr"), net.g_b(image))
    torch.testing.assert_close(scripted.translate(image, "ct"), net.g_a(image))


def test_forward_segments_the_chosen_domain():
    torch.manual_seed(0)
    image = torch.randn(1, 1, 16, 16)
    net = CardiacNet(2, width=2, modality="mr")
    torch.testing.assert_close(net(image), net.s_b(image))
    for call in (
        lambda: CardiacNet(2, modality="pet"),
        lambda: net.segment(image, "pet"),
        lambda: net.translate(image, ""),
    ):
        with pytest.raises(ValueError, match="choose ct or mr"):
            call()


@pytest.mark.parametrize("kind", [UNetGenerator, UNetSegmenter])
def test_checkpointing(kind, check_checkpointing):
    check_checkpointing(kind(2, width=4))
