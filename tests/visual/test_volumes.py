import numpy as np
from transeg.visual.panel import panel
from transeg.visual.volumes import VOLUME_TITLES, volume_row, widest_slice


def test_widest_slice():
    mask = np.zeros((4, 4, 6))
    mask[0, 0, 1] = mask[:2, :2, 4] = 1
    assert widest_slice(mask) == 4
    assert widest_slice(None, np.zeros((4, 4, 6)), mask) == 4
    assert widest_slice(np.zeros((4, 4, 6))) == 3


def test_a_volume_row_shows_what_is_given():
    source = np.random.default_rng(0).uniform(1, 2, (8, 9, 5))
    mask = np.zeros_like(source)
    mask[2:5, 2:5, 3] = 1
    row = volume_row(source, mask=mask)
    assert len(row) == len(VOLUME_TITLES)
    assert [tile is None for tile in row] == [False, True, True, True, False, True]
    assert row[0].pixels.shape == (9, 8, 3)
    np.testing.assert_array_equal(row[0].pixels, volume_row(source, z=3)[0].pixels)
    full = volume_row(source, source * 0.9, mask, mask, mask)
    assert None not in full
    assert full[2].pixels[..., 0].mean() > full[2].pixels[..., 2].mean()  # removed: orange
    panel([row, full], VOLUME_TITLES)
