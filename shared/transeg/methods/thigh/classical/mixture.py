"""Gaussian mixture of three tissues, fitted to a single scan without labels.

Source: Gadermayr et al., Front. Radiol. 2021, section 2.2: three classes, with the initial means s_min (bone, vessels,
air), s_min + (s_max - s_min) / 6 (muscle) and s_max (fat).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from transeg.errors import MixtureError

logger = logging.getLogger(__name__)

FLOOR = 1e-5  # minimum variance of a component, relative to the variance of all voxels


@dataclass(frozen=True)
class TissueMixture:
    """A fitted mixture; its components are sorted by mean: dark, muscle, fat."""

    means: tuple[float, float, float]
    variances: tuple[float, float, float]
    weights: tuple[float, float, float]

    def posterior(self, image: np.ndarray) -> np.ndarray:
        """Probability of each component given the intensity: (...) -> float32 (3, ...)."""
        shape = (3, *[1] * np.ndim(image))
        mean, variance, weight = (np.reshape(v, shape) for v in (self.means, self.variances, self.weights))
        score = np.log(weight) - 0.5 * np.log(variance) - 0.5 * (np.asarray(image, np.float64) - mean) ** 2 / variance
        return softmax(score, axis=0).astype(np.float32)

    def segment(self, image: np.ndarray) -> np.ndarray:
        """Mask of the voxels for which muscle is the most probable component."""
        return self.posterior(image).argmax(axis=0) == 1

    def normalise(self, image: np.ndarray) -> np.ndarray:
        """Intensity with muscle at 0 and fat at 1, float32: z = (I - mu_muscle) / (mu_fat - mu_muscle)."""
        _, muscle, fat = self.means
        return ((np.asarray(image, np.float64) - muscle) / (fat - muscle)).astype(np.float32)


def fit_mixture(
    image: np.ndarray,
    within: np.ndarray | None = None,
    quantiles: tuple[float, float] = (0.0, 0.995),
    max_voxels: int | None = 50_000,
    seed: int = 0,
    name: str = "image",
) -> TissueMixture:
    """Fit the mixture by expectation maximisation.

    The paper's rule initialises the means; k-means clusters, sorted by mean, initialise weights and variances.

    Args:
        image: intensities of any shape, e.g. a volume or a single slice.
        within: voxels to fit, e.g. the legs without air (default: all, as in the paper, where air belongs to the dark
            component).
        quantiles: quantiles that define s_min and s_max. (0, 1) gives the paper's minimum and maximum, which are
            sensitive to single bright voxels.
        max_voxels: size of the random sample to fit; None fits all voxels.
        seed: random seed of the sample and of k-means.
        name: name of the image in messages.

    Raises:
        MixtureError: fewer than three distinct intensities, or NaN or infinite ones.
    """
    values = np.asarray(image if within is None else image[np.asarray(within, bool)], np.float64).ravel()
    if not np.isfinite(values).all():
        raise MixtureError(f"{name}: NaN or infinite voxels; replace them (e.g. by 0)")
    if max_voxels is not None and values.size > max_voxels:
        values = np.random.default_rng(seed).choice(values, max_voxels, replace=False)
    if len(np.unique(values)) < 3:
        raise MixtureError(f"{name}: fewer than three distinct intensities, cannot fit three tissues; check the image")
    low, high = np.quantile(values, quantiles)
    start = np.array([low, low + (high - low) / 6, high])
    fitted = _fit(values, start, seed)
    order = np.argsort(fitted.means_[:, 0])
    if order[1] != 1:
        found = ", ".join(f"{mean:.4g}" for mean in fitted.means_[:, 0])
        logger.warning(
            "%s: the component initialised as muscle is not the middle one (means of dark, muscle, fat: %s); using the "
            "middle one. Review the mask",
            name,
            found,
        )
    return TissueMixture(*(_triple(part, order) for part in (fitted.means_, fitted.covariances_, fitted.weights_)))


def _triple(values: np.ndarray, order: np.ndarray) -> tuple[float, float, float]:
    dark, muscle, fat = np.ravel(values)[order].tolist()
    return dark, muscle, fat


def _fit(values: np.ndarray, start: np.ndarray, seed: int) -> GaussianMixture:
    """EM from the given means; scikit-learn alone would not match the variances of the clusters to the means."""
    scale = values.std()
    values, start = values[:, None] / scale, start[:, None] / scale
    clusters = KMeans(3, n_init=1, random_state=seed).fit(values)
    rank = clusters.cluster_centers_[:, 0].argsort().argsort()[clusters.labels_]
    variances = np.array([values[rank == k].var() for k in range(3)]) + FLOOR
    model = GaussianMixture(
        3,
        weights_init=np.bincount(rank) / len(values),
        means_init=start,
        precisions_init=1 / variances[:, None, None],
        reg_covar=FLOOR,
        max_iter=300,
        tol=1e-4,
        random_state=seed,
    ).fit(values)
    model.means_, model.covariances_ = model.means_ * scale, model.covariances_ * scale**2
    return model


def segment_mixture(
    image: np.ndarray,
    within: np.ndarray | None = None,
    per_slice: bool = False,
    name: str = "image",
    **options: Any,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit and segment: mask and muscle probability, both (X, Y) or (X, Y, Z).

    Args:
        image: intensities.
        within: voxels to fit and to segment.
        per_slice: fit each slice along the last axis; slices without three tissues stay empty.
        name: name of the image in messages.
        **options: options of `fit_mixture`.

    Raises:
        MixtureError: see `fit_mixture`; per slice, only if every slice fails.
    """
    if not per_slice:
        posterior = fit_mixture(image, within, name=name, **options).posterior(image)
        allowed = np.ones(image.shape, bool) if within is None else np.asarray(within, bool)
        return (posterior.argmax(axis=0) == 1) & allowed, posterior[1] * allowed
    mask, probability, failed = np.zeros(image.shape, bool), np.zeros(image.shape, np.float32), []
    for k in range(image.shape[-1]):
        part = None if within is None else within[..., k]
        try:
            mask[..., k], probability[..., k] = segment_mixture(
                image[..., k], part, name=f"{name}, slice {k}", **options
            )
        except MixtureError as error:
            failed.append(str(error))
    if len(failed) == image.shape[-1]:
        raise MixtureError(failed[0])
    if failed:
        logger.warning("%d slices left empty: %s", len(failed), "; ".join(failed[:3]))
    return mask, probability
