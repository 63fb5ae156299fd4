"""The body without the air around it, its own holes filled."""

import numpy as np
from transeg.metrics.silhouette import body, silhouette


def test_a_ring_is_filled_and_a_speck_is_left_out():
    rng = np.random.default_rng(0)
    x, y = np.meshgrid(np.arange(60), np.arange(50), indexing="ij")
    radius = np.hypot(x - 30, y - 25)
    volume = np.zeros((60, 50, 3)) + ((radius < 20) & (radius > 12))[..., None]
    volume[2:4, 2:4] = 1
    volume += 0.02 * rng.standard_normal(volume.shape)
    volume[..., 2] = 0.02 * rng.standard_normal((60, 50))  # a slice beyond the body
    body = silhouette(100 * volume + 7)
    assert body[30, 25, :2].all(), "the hole"
    assert not body[3, 3].any()
    assert not body[..., 2].any()
    assert abs(body[..., 0].sum() / (radius < 20).sum() - 1) < 0.12


def test_a_channel_with_grey_air_leaves_the_body_to_the_next_one():
    rng = np.random.default_rng(0)
    head = np.zeros((30, 30, 4))
    head[8:22, 8:22] = 100 + 10 * rng.standard_normal((14, 14, 4))
    grey = np.where(head > 0, 76 + 30 * rng.standard_normal(head.shape), 76)  # air between dark and bright tissue
    assert silhouette(grey).all()
    assert np.array_equal(body(np.stack([grey, head])), silhouette(head))
    assert np.array_equal(body(np.stack([head, grey])), silhouette(head))
    assert body(grey[None]).all()
