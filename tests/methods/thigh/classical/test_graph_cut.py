"""The cut is a minimum, and of several minima the smallest, by comparison with every labelling there is."""

import sys
import time

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from transeg.methods.thigh.classical.graph_cut import energy, graph_cut


def every_labelling(shape):
    size = int(np.prod(shape))
    bits = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    return bits.astype(bool).reshape(-1, *shape)


def every_energy(labellings, unary, weights):
    """Energies straight from the definition; `weights` maps an offset to the weight of its edges."""
    total = labellings.reshape(len(labellings), -1) @ unary.ravel()
    for x in np.ndindex(unary.shape):
        for offset, weight in weights.items():
            y = tuple(np.add(x, offset))
            if all(0 <= i < n for i, n in zip(y, unary.shape, strict=True)):
                total = total + weight * (labellings[(slice(None), *x)] != labellings[(slice(None), *y)])
    return total


FOUR = {(1, 0): 1 / 2, (0, 1): 1 / 3}
EIGHT = {**FOUR, (1, 1): 13**-0.5, (1, -1): 13**-0.5}
SIX = {(1, 0, 0): 1.0, (0, 1, 0): 1 / 2, (0, 0, 1): 1 / 7}
CASES = {
    "3x3, 4 neighbours": ((3, 3), (2, 3), 1, FOUR),
    "3x3, 8 neighbours": ((3, 3), (2, 3), 2, EIGHT),
    "4x4, 4 neighbours": ((4, 4), (2, 3), 1, FOUR),
    "4x4, 8 neighbours": ((4, 4), (2, 3), 2, EIGHT),
    "2x4x2, 6 neighbours": ((2, 4, 2), (1, 2, 7), 1, SIX),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("smoothness", [0.02, 0.3, 1.5])
def test_energy_equals_brute_force(name, smoothness):
    shape, spacing, connectivity, weights = CASES[name]
    labellings = every_labelling(shape)
    for seed in range(6):
        unary = np.random.default_rng(seed).normal(size=shape)
        energies = every_energy(labellings, unary, {o: smoothness * w for o, w in weights.items()})
        mask = graph_cut(unary, smoothness, spacing, connectivity)
        assert energy(mask, unary, smoothness, spacing, connectivity) == pytest.approx(energies.min(), abs=1e-5)
        assert (mask == labellings[energies.argmin()]).all()


def test_smallest_of_several_minima():
    labellings = every_labelling((4, 4))
    ties = 0
    for seed in range(30):
        unary = np.random.default_rng(seed).integers(-2, 3, (4, 4)).astype(float)
        energies = every_energy(labellings, unary, {(1, 0): 1, (0, 1): 1})
        minima = labellings[energies == energies.min()]
        ties += len(minima) > 1
        assert (graph_cut(unary, 1.0) == minima.all(axis=0)).all()
    assert ties > 10


def test_decisions_before_the_cut_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    unary = gaussian_filter(rng.normal(size=(40, 30, 5)), (4, 3, 0.5))
    unary = np.clip(4 * unary / np.abs(unary).max(), -0.5, 0.5) + 0.05 * rng.normal(size=unary.shape)
    for smoothness in (0.02, 0.1, 0.4):
        for connectivity in (1, 3):
            mask = graph_cut(unary, smoothness, (1, 1.5, 4), connectivity)
            with monkeypatch.context() as patch:
                module = sys.modules[
                    "transeg.methods.thigh.classical.graph_cut"
                ]  # the package's name is the function's
                patch.setattr(module, "BOXES", ())
                patch.setattr(module, "ROUNDS", 0)
                whole = graph_cut(unary, smoothness, (1, 1.5, 4), connectivity)
            assert (mask == whole).all()
            assert 0 < mask.sum() < mask.size


def test_slices_are_cut_on_their_own():
    unary = np.random.default_rng(3).normal(size=(3, 12, 9))
    mask = graph_cut(unary, 0.4, spacing=(5, 1, 2), axes=(1, 2))
    for image, part in zip(unary, mask, strict=True):
        assert (part == graph_cut(image, 0.4, spacing=(1, 2))).all()
    assert (graph_cut(unary, 0) == (unary < 0)).all()


def test_wrong_input_is_refused():
    unary = np.zeros((3, 4))
    with pytest.raises(ValueError, match="spacing"):
        graph_cut(unary, 1, spacing=(1, 1, 1))
    with pytest.raises(ValueError, match="smoothness"):
        graph_cut(unary, -1)
    with pytest.raises(ValueError, match="NaN"):
        graph_cut(unary + np.nan, 1)


def test_a_volume_takes_seconds_at_most():
    x, y, _ = np.meshgrid(*[np.linspace(-1, 1, n) for n in (256, 256, 16)], indexing="ij")
    unary = np.where(x**2 + 2 * y**2 < 0.6, -0.45, 0.45) + 0.1 * np.random.default_rng(0).normal(size=x.shape)
    begin = time.process_time()
    mask = graph_cut(unary, 0.5, spacing=(1, 1, 7))
    assert time.process_time() - begin < 5  # about 0.3 s on a processor of its own
    assert 2 * (mask & (x**2 + 2 * y**2 < 0.6)).sum() / (mask.sum() + (x**2 + 2 * y**2 < 0.6).sum()) > 0.99
