import numpy as np
import pytest
import torch
from transeg.methods.thigh.objective import ThighTranslation
from transeg.methods.thigh.panel import ThighPanel


@pytest.mark.parametrize("size", [(20, 30), (20, 30, 5)])
def test_a_row_for_each_image_and_what_became_darker_in_orange(size):
    h = torch.full((3, 1, *size), 0.5)
    darker = h - 0.5
    t = ThighTranslation(h, h, f_h=darker, g_e=h, gf_h=h, fg_e=h)
    picture = ThighPanel(rows=2)({"translation": t})
    one = ThighPanel(rows=1)({"translation": t})
    assert picture.dtype == np.uint8
    assert picture.shape[0] > one.shape[0]
    red, blue = (picture[..., c].astype(int) for c in (0, 2))
    assert (red > blue + 50).any()  # h - F(h)
    assert not (blue > red + 50).any()  # nothing became brighter
