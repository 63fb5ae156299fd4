import pytest
import torch
from torch import nn
from transeg.methods.cardiac.networks import UNetGenerator
from transeg.networks.blocks import UpsampleConv
from transeg.networks.resnet import ResNetGenerator
from transeg.networks.tiling import convolutions_in_tiles

LAYERS = {
    "same": lambda: nn.Conv3d(2, 3, 3, padding=1),
    "point": lambda: nn.Conv3d(2, 3, 1),
    "wide": lambda: nn.Conv3d(2, 3, 5, padding=2, groups=1),
    "half": lambda: nn.Conv3d(2, 3, 3, stride=2, padding=1),
    "wide half": lambda: nn.Conv3d(2, 3, 5, stride=2, padding=2),
    "double": lambda: UpsampleConv(3, 2, 3, 3, border="zero"),
    "wide double": lambda: UpsampleConv(3, 2, 3, 5),
}


@pytest.mark.parametrize("tile", [4, 6, 64])
@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_is_that_of_the_whole(name, tile):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = torch.randn(2, 2, 13, 9, 16, dtype=torch.double)
    seen = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    with torch.no_grad():
        whole = layer(x)
        with convolutions_in_tiles(nn.Sequential(layer), tile):
            tiled = layer(x)
        torch.testing.assert_close(tiled, whole)
        torch.testing.assert_close(layer(x), whole)
    hook.remove()
    assert "forward" not in vars(layer)


def test_a_whole_network_of_which_no_convolution_sees_more_than_a_tile():
    torch.manual_seed(0)
    net, image, seen = UNetGenerator(3, width=2), torch.randn(1, 1, 37, 24, 27), []
    original = nn.Conv3d._conv_forward

    def spy(self, x, *args):
        seen.append(max(x.shape[2:]))
        return original(self, x, *args)

    with torch.no_grad():
        whole = net(image)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(nn.Conv3d, "_conv_forward", spy)
        with convolutions_in_tiles(net, 8):
            tiled = net(image)
    assert max(seen) == 2 * (4 + 2 + 2) + 2  # half a tile with its halo, upsampled and padded
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)


def test_networks_it_cannot_tile_are_refused():
    for network, message in (
        (ResNetGenerator(3, width=2, blocks=1), r"network\.layers\.0\.conv = Conv3d.*cannot be tiled"),
        (nn.ConvTranspose3d(1, 1, 2), "use upsampling"),
        (torch.jit.script(UNetGenerator(2, width=2)), "no convolutions"),
    ):
        with pytest.raises(ValueError, match=message), convolutions_in_tiles(network, 8):
            pass
    with pytest.raises(ValueError, match="even"), convolutions_in_tiles(UNetGenerator(2, width=2), 7):
        pass
