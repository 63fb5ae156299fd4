"""Remains of muscle are enclosed, legs apart; on phantoms hardly any muscle is outside and little fat inside."""

import numpy as np
from scipy.ndimage import distance_transform_edt
from transeg.methods.thigh.compartment import muscle_compartment
from transeg.metrics.silhouette import silhouette

from data_prep.phantoms import thigh_phantom


def test_remains_of_muscle_are_enclosed():
    x, y, _ = np.meshgrid(np.arange(120), np.arange(60), np.arange(2), indexing="ij")
    radius, angle = np.hypot(np.abs(x - 60) - 30, y - 30), np.arctan2(y - 30, np.abs(x - 60) - 30)
    body = radius < 28
    remains = (radius < 18) & (radius > 14) & (np.cos(4 * angle) > -0.5)
    remains |= (radius > 26) & body  # skin of the same intensity
    remains[30, 52:54] = True  # a speck in the fat
    remains[..., 1] = False
    region = muscle_compartment(remains, body)
    assert region[..., 0][radius[..., 0] < 14].all()
    assert not region[radius > 18].any()
    assert not region[..., 1].any()


def test_severe_phantoms():
    for case in range(3):
        phantom = thigh_phantom((0, case), grade="severe")
        body = silhouette(phantom.image)
        muscle = phantom.mask > 0
        region = muscle_compartment(muscle & (phantom.fat < 0.3), body, (2.0, 2.0, 7.0))
        assert (region & muscle).sum() > 0.94 * muscle.sum()
        away = np.stack([distance_transform_edt(~m, sampling=2.0) for m in np.moveaxis(muscle, -1, 0)], axis=-1)
        assert (region & (away > 6)).sum() < 0.12 * region.sum()  # bone and vessels
