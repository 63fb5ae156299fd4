import numpy as np
import pytest
import torch
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.methods.pathogan.objective import PathoGANObjective
from transeg.methods.pathogan.panel import PathoGANPanel


def draw(dims, rows=1):
    torch.manual_seed(0)
    size = (32,) * dims
    batch = {key: torch.rand(2, 2, *size) * 2 - 1 for key in ("image", "absence")}
    net = PathoGANNet(dims, 2, size, width=4, blocks=1, code=8)
    t = PathoGANObjective().forward({"generator": net}, batch)
    return PathoGANPanel(rows)({"translation": t}), t


@pytest.mark.parametrize("dims", [2, 3])
def test_rows_of_ten_tiles(dims):
    one, two = draw(dims)[0], draw(dims, rows=2)[0]
    assert one.dtype == np.uint8
    assert one.shape[1] == two.shape[1] > 10 * 32
    assert one.shape[0] + 32 <= two.shape[0]


def test_the_channel_that_is_asked_for_is_drawn():
    first, t = draw(2)
    second = PathoGANPanel(rows=1, channel=1)({"translation": t})
    assert (first != second).any()
