"""Graph cut (GC) and shape-prior graph cut (SPGC): costs from the intensity model and the shape map.

Gadermayr et al., Front. Radiol. 2021, section 2.2, give the components and parameters but not the formula. All
parameters are on the scale of probabilities, hence linear costs:

    u(x) = (1/2 - p_d(x)) + shape_weight * (p_n - p_sp(x))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import logit

from transeg.errors import ConfigError
from transeg.methods.thigh.classical.graph_cut import graph_cut
from transeg.methods.thigh.classical.intensity import IntensityModel, smooth_slices

CERTAIN = 1e-3  # log costs: probabilities are clipped to [CERTAIN, 1 - CERTAIN]


@dataclass(frozen=True)
class CutParameters:
    """Parameters of the graph cut, with the paper's names.

    Attributes:
        smoothness: lambda_s, "curvature weight": weight of the boundary, divided by the distance in mm.
        sigma: standard deviation of the low-pass filter in pixels.
        shape_weight: lambda_sp; 0 disables the shape prior.
        neutral: p_n, "neutral probability": see `neutral_of`.
        neutral_of: "shape": a shape map above p_n favours muscle, below it background. "fat": p_n replaces p_d for
            voxels as bright as fat, which may be infiltrated muscle; the shape map is neutral at 1/2.
        smooth: input of the low-pass filter: the "intensity" before p_d, or the "shape" map.
        scale: "linear" costs, or "log", which replaces each p by logit(p).
        slicewise: no edges between slices, which are thick in the paper's scans: much faster, almost the same mask.
        connectivity: see `graph_cut`.
    """

    smoothness: float = 0.1
    sigma: float = 1.0
    shape_weight: float = 0.0
    neutral: float = 0.3
    neutral_of: Literal["shape", "fat"] = "shape"
    smooth: Literal["intensity", "shape"] = "intensity"
    scale: Literal["linear", "log"] = "linear"
    slicewise: bool = True
    connectivity: int = 1

    def __post_init__(self) -> None:
        allowed = {"neutral_of": ("shape", "fat"), "smooth": ("intensity", "shape"), "scale": ("linear", "log")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise ConfigError(f"{name} must be one of {values}, got {getattr(self, name)!r}")
        if min(self.smoothness, self.sigma, self.shape_weight) < 0 or not 0 < self.neutral < 1:
            raise ConfigError(f"weights and sigma must be >= 0 and neutral in (0, 1): {self}")


def filtered(z: np.ndarray, parameters: CutParameters) -> np.ndarray:
    """Normalised intensities as input to the intensity model, for learning and for segmentation."""
    return smooth_slices(z, parameters.sigma) if parameters.smooth == "intensity" else z


def unary_cost(
    z: np.ndarray, model: IntensityModel, parameters: CutParameters, shape: np.ndarray | None = None
) -> np.ndarray:
    """u: cost of muscle minus cost of background.

    Args:
        z: intensities with muscle at 0 and fat at 1 (`TissueMixture.normalise`), `filtered`.
        model: intensity model, gives p_d.
        parameters: parameters of the graph cut.
        shape: p_sp, same shape as z; required for a shape weight above 0.

    Raises:
        ConfigError: a missing shape map, or one of another shape.
    """
    value = (lambda p: logit(np.clip(p, CERTAIN, 1 - CERTAIN))) if parameters.scale == "log" else np.asarray
    of_fat = parameters.neutral_of == "fat"
    data = model.probability(z)
    if of_fat:
        data = np.where(z > 0.5, np.float32(parameters.neutral), data)
    cost = value(0.5) - value(data)
    if not parameters.shape_weight:
        return cost
    if shape is None or shape.shape != z.shape:
        raise ConfigError(
            f"a shape weight requires a shape map of {z.shape}, got {None if shape is None else shape.shape}"
        )
    if parameters.smooth == "shape":
        shape = smooth_slices(shape, parameters.sigma)
    return cost + parameters.shape_weight * (value(0.5 if of_fat else parameters.neutral) - value(shape))


def segment_cut(
    z: np.ndarray,
    model: IntensityModel,
    parameters: CutParameters,
    shape: np.ndarray | None = None,
    spacing: Sequence[float] | None = None,
) -> np.ndarray:
    """Muscle mask (X, Y) or (X, Y, Z) of minimum energy.

    Arguments as for `unary_cost`, with unfiltered z; spacing in mm.
    """
    unary = unary_cost(filtered(z, parameters), model, parameters, shape)
    axes = (0, 1) if parameters.slicewise else None
    return graph_cut(unary, parameters.smoothness, spacing, parameters.connectivity, axes)
