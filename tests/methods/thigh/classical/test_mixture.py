"""Three tissues are found without a label, whatever the sample, and oddities are told."""

import sys

import numpy as np
import pytest
from transeg.errors import MixtureError
from transeg.methods.thigh.classical.mixture import TissueMixture, fit_mixture, segment_mixture
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import silhouette

from tests.methods.thigh.classical.thighs import thighs


def test_muscle_is_found():
    image, muscle = thighs((96, 64, 6))
    mixture = fit_mixture(image)
    assert mixture.means[1] == pytest.approx(120, rel=0.15)
    assert mixture.means[2] == pytest.approx(400, rel=0.1)  # partial volumes of skin belong to it
    assert sum(mixture.weights) == pytest.approx(1)
    assert dice(mixture.segment(image), muscle) > 0.9
    assert dice(mixture.posterior(image)[1] > 0.5, muscle) > 0.9
    assert mixture.normalise(np.array(mixture.means[1:])) == pytest.approx([0, 1])


def test_infiltrated_muscle_is_what_the_mixture_misses():
    scores = []
    for share in (0.0, 0.3, 0.6):
        image, muscle = thighs((96, 64, 6), share)
        scores.append(dice(fit_mixture(image).segment(image), muscle))
    assert scores[0] > scores[1] + 0.05 > scores[2] + 0.1


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_a_sample_gives_what_all_voxels_give(share):
    image, _ = thighs((128, 96, 6), share)
    whole = fit_mixture(image, max_voxels=None).segment(image)
    for seed in range(3):
        assert dice(fit_mixture(image, max_voxels=10_000, seed=seed).segment(image), whole) > 0.98
    assert fit_mixture(image, seed=4) == fit_mixture(image, seed=4)


def test_posterior_by_hand():
    mixture = TissueMixture((0.0, 2.0, 10.0), (1.0, 4.0, 1.0), (0.5, 0.25, 0.25))
    dark, muscle = 0.5 * np.exp(-0.5), 0.25 / 2 * np.exp(-1 / 8)  # at 1; fat adds 1e-18
    assert mixture.posterior(np.array([[1.0]])).shape == (3, 1, 1)
    assert mixture.posterior(np.array([1.0]))[:2, 0] == pytest.approx(np.array([dark, muscle]) / (dark + muscle))


def test_one_bright_voxel_spoils_the_paper_s_maximum_only():
    image, muscle = thighs((96, 64, 6), 0.4)
    image[3, 4, 1] = 20 * image.max()
    assert dice(fit_mixture(image, max_voxels=None).segment(image), muscle) > 0.6
    assert dice(fit_mixture(image, quantiles=(0, 1), max_voxels=None).segment(image), muscle) < 0.6


def test_muscle_that_is_not_in_the_middle_is_told(caplog, monkeypatch):
    module = sys.modules["transeg.methods.thigh.classical.mixture"]
    image, _ = thighs((96, 64, 6))
    fit_mixture(image)
    assert not caplog.records
    fit = module._fit
    monkeypatch.setattr(module, "_fit", lambda values, start, seed: fit(values, start[[1, 0, 2]], seed))
    mixture = fit_mixture(image, name="odd.nii.gz")
    assert "odd.nii.gz" in caplog.text
    assert list(mixture.means) == sorted(mixture.means)


def test_slices_and_silhouette():
    image, muscle = thighs((96, 64, 6))
    image *= np.linspace(0.5, 1.5, 6, dtype=np.float32)  # no one mixture fits all slices
    mask, probability = segment_mixture(image, per_slice=True)
    assert mask.shape == probability.shape == image.shape
    assert dice(mask, muscle) > dice(segment_mixture(image)[0], muscle)
    image[..., 2] = 0
    assert not segment_mixture(image, per_slice=True)[0][..., 2].any()
    body = silhouette(thighs((96, 64, 6))[0])
    inside, _ = segment_mixture(thighs((96, 64, 6))[0], body)
    assert not (inside & ~body).any()


def test_what_holds_no_tissue_is_refused():
    with pytest.raises(MixtureError, match="flat"):
        fit_mixture(np.ones((5, 5, 5)), name="flat.nii")
    with pytest.raises(MixtureError, match="NaN"):
        fit_mixture(np.full((5, 5), np.nan))
    with pytest.raises(MixtureError):
        segment_mixture(np.zeros((4, 4, 3)), per_slice=True)
