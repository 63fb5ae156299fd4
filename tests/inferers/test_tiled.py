"""Inference in tiles leaves no seams."""

import pytest
import torch
from monai.data import MetaTensor
from transeg.inferers.tiled import TiledInferer, tile_edges
from transeg.methods.cardiac.networks import CardiacNet
from transeg.metrics.seams import seam_score


def test_tiles_give_the_values_of_the_whole_and_no_seam():
    torch.manual_seed(0)
    net = CardiacNet(width=2, classes=3, levels=1).eval()
    steps = torch.linspace(-1, 1, 27)[:, None, None] + torch.linspace(0, 1, 22)[:, None] * torch.linspace(-1, 1, 19)
    volume = MetaTensor(steps[None, None].clamp(-1, 1), affine=2 * torch.eye(4))
    edges = tile_edges(volume.shape[2:], 8)
    assert edges == [[8, 16, 24], [8, 16], [8, 16]]
    tiled = TiledInferer(tile=8, most_voxels=100)
    for network, *args in ((net.g_b,), (net.translate, "ct"), (net,)):
        whole, parts = TiledInferer()(volume, network, *args), tiled(volume, network, *args)
        torch.testing.assert_close(parts.as_tensor(), whole.as_tensor(), atol=1e-5, rtol=0)
        assert torch.equal(parts.affine, volume.affine)
        assert not parts.requires_grad
    # each tile on its own: other statistics, and steps where tiles meet
    net.g_b.double()
    alone = torch.empty(27, 22, 19)
    for part, source in zip(_tiles(alone), _tiles(volume.as_tensor()[0, 0]), strict=True):
        part.copy_(net.g_b(source[None, None].double())[0, 0].detach())
    whole = net.g_b(volume.as_tensor().double())[0, 0].detach()
    assert seam_score(alone.numpy(), edges) > 1.5 * seam_score(whole.numpy(), edges)
    with pytest.raises(TypeError, match="neither a module"):
        tiled(volume, lambda x: x)


def _tiles(volume):
    for x in volume.split(8, 0):
        for y in x.split(8, 1):
            yield from y.split(8, 2)
