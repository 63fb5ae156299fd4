"""Inference by halves leaves no trace of the cut."""

import pytest
import torch
from torch import nn
from transeg.methods.genseg.inferer import HalfSliceInferer


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
