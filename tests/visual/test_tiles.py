import numpy as np
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


def test_pictures_are_in_radiological_display():
    """The patient's right is on the left, anterior is up."""
    slice_ = np.zeros((3, 5))
    slice_[2, 4] = 1  # right, anterior
    assert upright(slice_).shape == (5, 3)
    assert upright(slice_)[0, 0] == 1
