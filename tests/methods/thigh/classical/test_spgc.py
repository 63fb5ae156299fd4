"""The costs are the formula, and all parts together find infiltrated muscle."""

from dataclasses import replace

import numpy as np
import pytest
from transeg.methods.thigh.classical.intensity import IntensityModel, count_intensities, learn_intensity
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.methods.thigh.classical.spgc import CutParameters, filtered, segment_cut, unary_cost
from transeg.metrics.overlap import dice

from tests.methods.thigh.classical.thighs import thighs

Z = np.array([[0.0, 0.25], [0.5, 1.0]])
MODEL = IntensityModel(0.0, 1.0, (0.9, 0.1), 0.4)  # p_d = 0.9, 0.7, 0.5, 0.1
SHAPE = np.array([[0.8, 0.3], [0.6, 0.1]])


def test_linear_costs():
    parameters = CutParameters(shape_weight=0.5, neutral=0.4)
    expected = [[-0.4 + 0.5 * -0.4, -0.2 + 0.5 * 0.1], [0 + 0.5 * -0.2, 0.4 + 0.5 * 0.3]]
    assert unary_cost(Z, MODEL, parameters, SHAPE) == pytest.approx(np.array(expected))
    assert unary_cost(Z, MODEL, CutParameters()) == pytest.approx(np.array([[-0.4, -0.2], [0, 0.4]]))


def test_neutral_probability_of_what_is_as_bright_as_fat():
    parameters = CutParameters(shape_weight=0.5, neutral=0.4, neutral_of="fat")
    expected = [[-0.4 + 0.5 * -0.3, -0.2 + 0.5 * 0.2], [0 + 0.5 * -0.1, 0.1 + 0.5 * 0.4]]
    assert unary_cost(Z, MODEL, parameters, SHAPE) == pytest.approx(np.array(expected))


def test_log_likelihood_costs():
    parameters = CutParameters(shape_weight=0.5, neutral=0.4, scale="log")
    expected = -np.log(9) + 0.5 * (np.log(0.4 / 0.6) - np.log(4))
    assert unary_cost(Z, MODEL, parameters, SHAPE)[0, 0] == pytest.approx(expected, rel=1e-5)


def test_what_is_filtered():
    z = np.zeros((8, 8))
    z[2, 3] = 1
    assert filtered(z, CutParameters(sigma=1.0))[2, 3] < 0.2
    shape = CutParameters(sigma=1.0, smooth="shape", shape_weight=1.0)
    assert (filtered(z, shape) == z).all()
    assert unary_cost(z, MODEL, shape, 1 - z)[2, 3] < unary_cost(z, MODEL, replace(shape, sigma=0.0), 1 - z)[2, 3]


def test_a_shape_prior_brings_back_infiltrated_muscle():
    train, annotation = thighs((80, 60, 5), 0.3, seed=1)
    image, muscle = thighs((80, 60, 5), 0.5, seed=2)
    parameters = CutParameters(smoothness=0.2)
    mixture = fit_mixture(train)
    model = learn_intensity([count_intensities(filtered(mixture.normalise(train), parameters), annotation)])
    mixture = fit_mixture(image)
    z, spacing = mixture.normalise(image), (2.0, 2.0, 7.0)
    cut = segment_cut(z, model, parameters, spacing=spacing)
    prior = replace(parameters, shape_weight=1.0, neutral=0.4)
    with_shape = segment_cut(z, model, prior, 0.9 * annotation + 0.05, spacing)
    assert dice(mixture.segment(image), muscle) < dice(cut, muscle) < dice(with_shape, muscle)
    assert dice(with_shape, muscle) > 0.85


def test_wrong_parameters_are_refused():
    with pytest.raises(ValueError, match="neutral_of"):
        CutParameters(neutral_of="muscle")
    with pytest.raises(ValueError, match=">= 0"):
        CutParameters(smoothness=-1)
    with pytest.raises(ValueError, match="shape map"):
        unary_cost(Z, MODEL, CutParameters(shape_weight=1.0))
