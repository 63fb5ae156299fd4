import numpy as np
import pytest
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import diverging, grey, heat, upright, window


def test_grey_window_and_background():
    image = np.array([[-1.0, 0.0], [0.5, 2.0]])
    out = grey(image, 0.0, 1.0, image != 0)
    assert out[..., 0].tolist() == [[0, 0], [128, 255]]
    assert (out[..., 0] == out[..., 2]).all()
    low, high = window(np.array([0.0, 0, 0, 3, 5]), np.array([0, 0, 0, 1, 1], bool))
    assert 3 <= low < high <= 5
    assert window(np.zeros((2, 2)))[1] > 0


def test_residual_colours_tell_the_sign():
    removed, nothing, added = diverging(np.array([[2.0, 0.0, -1.0]]), 2.0)[0].astype(int)
    assert removed[0] > removed[2]
    assert nothing.tolist() == [0, 0, 0]
    assert added[2] > added[0]
    assert removed.sum() > added.sum()
    assert heat(np.array([[0.0, 0.5, 1.0]])).sum(axis=-1)[0].tolist() == sorted(heat(np.array([0.0, 0.5, 1.0])).sum(-1))


def test_anterior_is_up():
    slice_ = np.zeros((3, 5))
    slice_[2, 4] = 1  # right, anterior
    assert upright(slice_).shape == (5, 3)
    assert upright(slice_)[0, 2] == 1


def test_layout():
    red = Tile(np.full((10, 20, 3), (200, 0, 0), np.uint8))
    blue = Tile(np.full((10, 20, 3), (0, 0, 200), np.uint8))
    image = panel([[red, blue], [None, red]], ["one", "two"], ["first", ""])
    assert image.dtype == np.uint8
    reds = np.argwhere((image == (200, 0, 0)).all(-1))
    blues = np.argwhere((image == (0, 0, 200)).all(-1))
    assert len(reds) == 2 * len(blues) == 2 * 10 * 20 * 19**2
    assert blues[:, 1].min() > reds[:, 1].min()  # second column
    assert reds[:, 0].max() > blues[:, 0].max()  # second row
    assert panel([[red, blue], [None, red]], ["one", "two"]).shape[0] < image.shape[0]


def test_an_outline_surrounds_the_mask():
    mask = np.zeros((10, 10), bool)
    mask[3:7, 3:7] = True
    image = panel([[Tile(np.zeros((10, 10, 3), np.uint8), [(mask, (0, 255, 0))])]], ["mask"])
    line = np.argwhere((image == (0, 255, 0)).all(-1))
    span = line.max(axis=0) - line.min(axis=0) + 1
    assert abs(span - 4 * 19).max() <= 2
    assert len(line) < 0.2 * span.prod()


def test_errors():
    tile, other = Tile(np.zeros((4, 4, 3), np.uint8)), Tile(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="one size"):
        panel([[tile, other]], ["a", "b"])
    with pytest.raises(ValueError, match="one size"):
        panel([[None]], ["a"])
    with pytest.raises(ValueError, match="do not agree"):
        panel([[tile]], ["a", "b"])
