from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transeg.methods.genseg.panel import GenSegPanel


def output(size=(6, 8), **changes):
    x = torch.rand(3, 2, *size)
    fields = {
        "x_p": x, "x_a": x + 1, "x_pa": x / 2, "x_ap": x * 2, "seg": torch.randn(1, 1, *size),
        "y": torch.ones(1, 1, *size), "labelled": torch.tensor([False, False, True]),
    }  # fmt: skip
    return {"translation": SimpleNamespace(**{**fields, **changes})}


def test_labelled_images_come_first():
    draw = GenSegPanel(rows=2)
    rows = {}
    draw._row, original = lambda t, i, label: rows.setdefault(i, (label, original(t, i, label)))[1], draw._row
    draw(output())
    assert list(rows) == [2, 0]
    assert rows[2][0] == 0
    assert rows[2][1]["reference"].outlines[0][0].all()
    assert rows[0][1]["reference"] is None


@pytest.mark.parametrize("size", [(6, 8), (6, 8, 4)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"seg": None, "y": None, "labelled": torch.zeros(3, dtype=torch.bool)}, {"x_ap": None}, {"x_pa": None}],
)
def test_every_objective_gives_a_picture(size, changes):
    image = GenSegPanel()(output(size, **changes))
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


def test_pictures_are_not_turned():
    assert GenSegPanel(turn=False)._slice(torch.arange(6.0).view(1, 2, 3), 0).tolist() == [[0, 1, 2], [3, 4, 5]]
