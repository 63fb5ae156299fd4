import numpy as np
import pytest
from transeg.visual.panel import Tile, panel


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


def test_letters_tell_the_sides():
    def written(sides):
        image = panel([[Tile(np.zeros((20, 20, 3), np.uint8), sides=sides)]], [""])
        return image != panel([[Tile(np.zeros((20, 20, 3), np.uint8))]], [""])

    both, one = written("RL"), written("R")
    middle = both.shape[1] // 2
    assert both[:, middle:].any()
    assert one[:, :middle].any()
    assert (both[:, :middle] == one[:, :middle]).all()
    assert not one[:, middle:].any()


def test_errors():
    tile, other = Tile(np.zeros((4, 4, 3), np.uint8)), Tile(np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(ValueError, match="one size"):
        panel([[tile, other]], ["a", "b"])
    with pytest.raises(ValueError, match="one size"):
        panel([[None]], ["a"])
    with pytest.raises(ValueError, match="do not match 2 titles"):
        panel([[tile]], ["a", "b"])
    with pytest.raises(ValueError, match="do not match 1 rows"):
        panel([[tile]], ["a"], ["", ""])
