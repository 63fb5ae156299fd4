"""Inference by halves or in tiles leaves no seams."""

import pytest
import torch
from monai.data import DataLoader, MetaTensor
from torch import nn
from transeg.inferers.tiled import TiledInferer, tile_edges
from transeg.methods.cardiac.inferer import ModalityInferer
from transeg.methods.cardiac.networks import CardiacNet
from transeg.methods.genseg.inferer import HalfSliceInferer
from transeg.metrics.seams import seam_score


class Scaled(nn.Module):
    """Each half gets a gain that depends on what it sees, as an instance norm does."""

    def forward(self, image):
        return image * (1 + image.mean(dim=(2, 3), keepdim=True))


def test_a_pointwise_network_gives_the_same_as_on_the_whole():
    volume = torch.randn(1, 2, 21, 10, 5, generator=torch.Generator().manual_seed(0))
    out = HalfSliceInferer((21, 10), margin=2, sw_batch_size=3)(volume, lambda x: x[:, :1] * 2 + x[:, 1:])
    torch.testing.assert_close(out, volume[:, :1] * 2 + volume[:, 1:])


def test_the_network_sees_two_halves_of_each_slice():
    seen = []
    volume = torch.arange(3.0).expand(1, 1, 20, 8, 3)  # every slice holds its own number
    out = HalfSliceInferer((20, 8), margin=3, sw_batch_size=4)(volume, lambda x: (seen.append(x), x)[1])
    windows = torch.cat(seen)
    assert windows.shape == (6, 1, 13, 8)
    torch.testing.assert_close(out, volume.clone())


def test_the_halves_are_blended_without_a_step():
    volume = torch.zeros(1, 1, 40, 6, 2)
    volume[:, :, :8] = 1.0  # the halves differ in their mean
    volume += 1
    out = HalfSliceInferer((40, 6), margin=4)(volume, Scaled())[0, 0, :, 3, 0]
    left, right = Scaled()(volume[:, :, :24, :, 0]), Scaled()(volume[:, :, 16:, :, 0])
    torch.testing.assert_close(out[:16], left[0, 0, :16, 3])
    torch.testing.assert_close(out[24:], right[0, 0, 8:, 3])
    seam = (left[0, 0, 16, 3] - right[0, 0, 0, 3]).abs()
    steps = out[15:26].diff().abs()
    assert seam > 0.3
    assert steps.max() < 0.13 * seam + 1e-6


def test_other_sizes_are_refused():
    inferer = HalfSliceInferer((20, 8), margin=3)
    with pytest.raises(ValueError, match="slices of"):
        inferer(torch.zeros(1, 1, 22, 8, 2), nn.Identity())
    with pytest.raises(ValueError, match="margin"):
        HalfSliceInferer((20, 8), margin=12)


def test_tiles_give_the_values_of_the_whole_and_no_seam():
    torch.manual_seed(0)
    net = CardiacNet(width=2, classes=3, levels=1).eval()
    steps = torch.linspace(-1, 1, 27)[:, None, None] + torch.linspace(0, 1, 22)[:, None] * torch.linspace(-1, 1, 19)
    volume = MetaTensor(steps[None, None].clamp(-1, 1), affine=2 * torch.eye(4))
    edges = tile_edges(volume.shape[2:], 8)
    assert edges == [[8, 16, 24], [8, 16], [8, 16]]
    tiled = TiledInferer(tile=8, most_voxels=100)
    for network, *args in ((net.g_ct_to_mr,), (net.translate, "ct"), (net,)):
        whole, parts = TiledInferer()(volume, network, *args), tiled(volume, network, *args)
        torch.testing.assert_close(parts.as_tensor(), whole.as_tensor(), atol=1e-5, rtol=0)
        assert torch.equal(parts.affine, volume.affine)
        assert not parts.requires_grad
    # each tile on its own: other statistics, and steps where tiles meet
    net.g_ct_to_mr.double()
    alone = torch.empty(27, 22, 19)
    for part, source in zip(_tiles(alone), _tiles(volume.as_tensor()[0, 0]), strict=True):
        part.copy_(net.g_ct_to_mr(source[None, None].double())[0, 0].detach())
    whole = net.g_ct_to_mr(volume.as_tensor().double())[0, 0].detach()
    assert seam_score(alone.numpy(), edges) > 1.5 * seam_score(whole.numpy(), edges)
    with pytest.raises(TypeError, match="neither a module"):
        tiled(volume, lambda x: x)


def _tiles(volume):
    for x in volume.split(8, 0):
        for y in x.split(8, 1):
            yield from y.split(8, 2)


@torch.no_grad()
def test_each_volume_is_segmented_as_its_modality():
    network = CardiacNet(3, width=2, levels=1).eval()
    volumes = [MetaTensor(torch.rand(1, 8, 8, 8), meta={"modality": name}) for name in ("mr", "ct")]
    for inferer in (ModalityInferer(), ModalityInferer(tile=4, most_voxels=1)):
        batches = [*(volume[None] for volume in volumes), *DataLoader(volumes, batch_size=1)]
        for volume, modality in zip(batches, ["mr", "ct"] * 2, strict=True):
            expected = network.segment(volume.as_tensor(), modality)
            torch.testing.assert_close(inferer(volume, network).as_tensor(), expected, rtol=1e-4, atol=1e-5)
            translated = inferer(volume, network.translate, "ct").as_tensor()
            expected = network.translate(volume.as_tensor(), "ct")
            torch.testing.assert_close(translated, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"tell \['ct', 'mr'\]"):
        inferer(next(iter(DataLoader(volumes, batch_size=2))), network)
    with pytest.raises(ValueError, match=r"tell \[\]"):
        inferer(volumes[0].as_tensor()[None], network)
