"""The intensity model is Bayes' rule on histograms, and survives its file."""

import numpy as np
import pytest
from transeg.methods.thigh.classical.intensity import IntensityModel, count_intensities, learn_intensity, smooth_slices


def test_bayes_by_normal_distributions():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(0, 0.3, 60_000), rng.normal(1, 0.4, 140_000)])
    muscle = np.arange(z.size) < 60_000
    model = learn_intensity([count_intensities(z[::2], muscle[::2]), count_intensities(z[1::2], muscle[1::2])])
    at = np.array([-0.2, 0.2, 0.4, 0.6, 1.1])
    inside = 0.3 * np.exp(-((at / 0.3) ** 2) / 2) / 0.3
    outside = 0.7 * np.exp(-(((at - 1) / 0.4) ** 2) / 2) / 0.4
    assert model.prior == pytest.approx(0.3)
    assert model.probability(at) == pytest.approx(inside / (inside + outside), abs=0.04)
    assert model.probability(np.array([-9.0, 9.0])).shape == (2,)


def test_unseen_intensities_get_the_prior():
    model = learn_intensity([count_intensities(np.array([0.0, 0.0, 1.0, 1.0, 1.0]), np.array([1, 1, 0, 0, 0]))])
    assert model.probability(np.array([0.0, 1.0, 2.5])) == pytest.approx([1, 0, 0.4], abs=1e-2)


def test_file(tmp_path):
    model = learn_intensity([count_intensities(np.linspace(-1, 2, 50), np.arange(50) < 20)])
    model.save(tmp_path / "model.json")
    assert IntensityModel.load(tmp_path / "model.json") == model
    (tmp_path / "model.json").write_text('{"low": 1}')
    with pytest.raises(ValueError, match="not an intensity model"):
        IntensityModel.load(tmp_path / "model.json")
    with pytest.raises(ValueError, match="check the masks"):
        learn_intensity([count_intensities(np.zeros(5), np.zeros(5))])
    with pytest.raises(ValueError, match="annotated scans"):
        learn_intensity([])


def test_smoothing_stays_in_the_slice():
    image = np.zeros((9, 9, 3))
    image[4, 4, 1] = 1
    smooth = smooth_slices(image, 1.0)
    assert smooth[..., 1].sum() == pytest.approx(1, abs=1e-3)
    assert not smooth[..., [0, 2]].any()
    assert 0 < smooth[3, 4, 1] < smooth[4, 4, 1] < 1
