"""Two thighs in one field of view, unlike each other, with a known muscle mask."""

import numpy as np
from scipy.ndimage import gaussian_filter

MUSCLE, FAT, CORTEX = 120.0, 400.0, 25.0


def ellipse(x, y, centre, radii, degrees=0.0):
    angle = np.deg2rad(degrees)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = -(x - centre[0]) * np.sin(angle) + (y - centre[1]) * np.cos(angle)
    return (u / radii[0]) ** 2 + (v / radii[1]) ** 2 < 1


def thighs(shape=(96, 64, 6), infiltration=0.0, seed=0, gap=0.0, noise=10.0):
    """Image (X, Y, Z) and muscle mask, infiltrated muscle included; the leg at high x is the larger one.

    `infiltration` is the share of the muscle that looks like fat; `gap` moves the legs apart, as a share of X.
    """
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[(np.arange(n) + 0.5) / n for n in shape[:2]], np.arange(shape[2]), indexing="ij")
    image, muscle = np.zeros(shape), np.zeros(shape, bool)
    patches = gaussian_filter(rng.normal(size=shape), (shape[0] / 60, shape[1] / 40, 0.7))
    for centre, size in ((0.26 - gap, 0.92), (0.74 + gap, 1.0)):
        size = size * (1 - 0.03 * z) * rng.uniform(0.95, 1.05)
        middle = (centre, 0.48 + rng.uniform(-0.03, 0.03))
        leg = ellipse(x, y, middle, (0.23 * size, 0.42 * size))
        inside = ellipse(x, y, middle, (0.18 * size, 0.33 * size), degrees=rng.uniform(-4, 4))
        bone = ellipse(x, y, (middle[0] + 0.02, middle[1] - 0.06), (0.045 * size, 0.08 * size))
        marrow = ellipse(x, y, (middle[0] + 0.02, middle[1] - 0.06), (0.028 * size, 0.05 * size))
        image[leg], image[inside], image[bone], image[marrow] = FAT, MUSCLE, CORTEX, FAT
        muscle |= inside & ~bone
    if infiltration:
        image[muscle & (patches > np.quantile(patches[muscle], 1 - infiltration))] = FAT
    image = gaussian_filter(image, (0.6, 0.6, 0)) + noise * rng.normal(size=shape)
    return np.abs(image).astype(np.float32), muscle
