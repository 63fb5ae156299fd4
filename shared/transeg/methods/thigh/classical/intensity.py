"""Probability of muscle given the intensity, learned from annotated scans.

Gadermayr et al., Front. Radiol. 2021, section 2.2, train a probabilistic model on annotations without specifying it.
Here: intensities normalised by the means of the scan's own mixture, and one histogram each inside and outside muscle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from transeg.errors import DataError
from transeg.files import write_text

RANGE, BINS = (-1.5, 3.0), 180  # of z, with muscle at 0 and fat at 1; values beyond are counted in the outermost bins
WIDTH = 2.0  # standard deviation of the smoothing in bins
PSEUDOCOUNT = 1e-5  # added to each histogram, so that unseen intensities get the prior


@dataclass(frozen=True)
class IntensityModel:
    """P(muscle | z), linearly interpolated on a grid of z.

    Attributes:
        low, high: first and last z of the grid.
        muscle: probability of muscle at each z of the grid.
        prior: fraction of muscle among the training voxels.
    """

    low: float
    high: float
    muscle: tuple[float, ...]
    prior: float

    def probability(self, z: np.ndarray) -> np.ndarray:
        """p_d: probability of muscle for normalised intensities of any shape, float32."""
        grid = np.linspace(self.low, self.high, len(self.muscle))
        return np.interp(z, grid, self.muscle).astype(np.float32)

    def save(self, path: str | os.PathLike) -> None:
        """Write as JSON."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> IntensityModel:
        """Read what `save` wrote.

        Raises:
            DataError: the file is not a model.
        """
        try:
            content = json.loads(Path(path).read_text())
            return cls(**{**content, "muscle": tuple(content["muscle"])})
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}: not an intensity model ({error}); save it again") from error


def smooth_slices(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian low-pass filter within the slices (X, Y) or (X, Y, Z), sigma in pixels; float32."""
    return gaussian_filter(np.asarray(image, np.float32), (sigma, sigma, 0)[: np.ndim(image)])


def count_intensities(z: np.ndarray, muscle: np.ndarray) -> np.ndarray:
    """Histogram of a scan, (2, BINS): normalised intensities outside and inside the muscle mask.

    Histograms of several scans add up, which makes leaving one out cheap.
    """
    inside = np.asarray(muscle, bool)
    z = np.clip(z, *RANGE)
    return np.stack([np.histogram(z[part], BINS, RANGE)[0] for part in (~inside, inside)]).astype(np.float64)


def learn_intensity(counts: Iterable[np.ndarray]) -> IntensityModel:
    """Learn by Bayes' rule from the histograms of annotated scans, with their fraction of muscle as the prior.

    Args:
        counts: histogram of each scan, see `count_intensities`.

    Raises:
        DataError: no scans, or no muscle or background in them.
    """
    total = np.sum(list(counts), axis=0)
    sizes = total.sum(axis=-1) if np.ndim(total) == 2 else np.zeros(2)
    if not sizes.all():
        raise DataError("the intensity model needs annotated scans with muscle and background; check the masks")
    prior = float(sizes[1] / sizes.sum())
    likelihood = gaussian_filter1d(total / sizes[:, None], WIDTH, axis=1, mode="nearest") + PSEUDOCOUNT
    joint = likelihood * np.array([[1 - prior], [prior]])
    half = (RANGE[1] - RANGE[0]) / BINS / 2
    return IntensityModel(RANGE[0] + half, RANGE[1] - half, tuple((joint[1] / joint.sum(axis=0)).tolist()), prior)
