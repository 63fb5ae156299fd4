"""Whether a scan resembles those that a network was trained on: another body part or contrast does not.

A preprocessed scan is described by a few numbers: the distribution of its intensities, how its channels go together,
its texture, the size and shape of its foreground, and how far the foreground and its intensity lean to one side. The
training scans give the centre and spread of each number and how the numbers go together; a scan is unfamiliar if its
Mahalanobis distance is larger than that of nearly all training scans, each compared with the others (`FALSE_ALARMS`).
Numbers that usually agree, such as the sizes along two axes, thus tell by their disagreement. The reference travels in
the recipe.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from math import ceil
from pathlib import Path
from typing import Any, cast

import numpy as np
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.transforms import MapTransform
from sklearn.covariance import LedoitWolf

from transeg.files import case_name, write_rows
from transeg.metrics.silhouette import body
from transeg.transforms.intensity import foreground_mask

logger = logging.getLogger(__name__)

Reference = Mapping[str, Any]  # see `fit_reference`

ALL = "all"  # scans that are not told apart by their domain
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LOG_SIZE = slice(0, 3)  # of the features
MIN_SCANS = 8  # fewer do not tell how much scans differ
CENTRAL = (10, 90)  # percentiles between which the spread is measured, so that outliers do not widen it
CENTRAL_WIDTH = 2.563  # standard deviations of a normal distribution between them
SMALLEST_SPREAD = 0.02  # of intensities in [-1, 1], shares and correlations
SMALLEST_SIZE_SPREAD = 0.1  # of logarithms of sizes: a few slices more or less are no other body part
FALSE_ALARMS = 0.025  # share of scans like the training scans that are told
LARGEST_DEVIATION = 4  # of a training scan, beyond which it does not widen the correlation
NAMED = 3  # features in a message


def scan_features(image: MetaTensor) -> np.ndarray:
    """Numbers that describe a preprocessed scan, see `feature_names`.

    Its foreground is what differs from the background recorded by the normalisation, or else the body.

    Args:
        image: (C, X, Y, Z) in [-1, 1] (values beyond are clipped), with its affine.

    Returns:
        float64 (10 + 6 C + C (C - 1) / 2,).
    """
    voxels = np.clip(image.numpy(force=True), -1, 1)
    inside = _foreground(image)
    spans = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = np.array([span[-1] - span[0] + 1 for span in spans])
    values = voxels[:, inside].astype(np.float64)
    places = (np.argwhere(inside) - [(span[-1] + span[0]) / 2 for span in spans]) / box  # in the box, from its centre
    brightness = values.mean(axis=0)
    steps = [
        np.abs(np.diff(voxels, axis=axis + 1))[:, _pairs(inside, axis)].mean(axis=1, dtype=np.float64)
        for axis in (0, 1)  # not across slices, which may be any distance apart
        if _pairs(inside, axis).any()
    ]
    parts = [
        np.log(box * image.pixdim.numpy()),
        [inside.sum() / box.prod()],
        places.mean(axis=0),
        [_correlation(brightness, along) for along in places.T],
        np.quantile(values, QUANTILES, axis=1).T.ravel(),
        np.mean(steps, axis=0) if steps else np.zeros(len(values)),
        [_correlation(a, b) for a, b in combinations(values, 2)],
    ]
    return np.concatenate(parts)


def feature_names(channels: Sequence[str]) -> list[str]:
    """Names of `scan_features`, as used in messages."""
    return [
        *(f"size of the foreground along {axis}" for axis in "XYZ"),
        "shape of the foreground",
        *(f"balance of the foreground along {axis}" for axis in "XYZ"),
        *(f"trend of the intensity along {axis}" for axis in "XYZ"),
        *(f"{name} intensity ({100 * rank:.0f} % quantile)" for name in channels for rank in QUANTILES),
        *(f"{name} texture" for name in channels),
        *(f"similarity of {a} and {b}" for a, b in combinations(channels, 2)),
    ]


def copied_channels(image: MetaTensor, channels: Sequence[str]) -> list[str]:
    """Pairs of channels (C, X, Y, Z) with equal voxels, "flair = t1": one stands for another that is missing."""
    voxels = image.numpy(force=True)
    return [
        f"{channels[a]} = {channels[b]}"
        for a, b in combinations(range(len(voxels)), 2)
        if np.array_equal(voxels[a], voxels[b])
    ]


def _foreground(image: MetaTensor) -> np.ndarray:
    if "intensity_background" in image.meta:
        inside = foreground_mask(image)[0].numpy(force=True)
    else:
        inside = body(image.numpy(force=True))
    return inside if inside.any() else np.ones_like(inside)


def _pairs(inside: np.ndarray, axis: int) -> np.ndarray:
    """Where a voxel and the next one along an axis are both inside."""
    ahead, behind = (np.take(inside, range(k, inside.shape[axis] - 1 + k), axis) for k in (1, 0))
    return ahead & behind


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    scale = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / scale) if scale > 0 else 0.0


def fit_references(features: Sequence[np.ndarray], groups: Sequence[str]) -> dict[str, Reference]:
    """Reference of each group of scans, such as CT and MR, see `fit_reference`; without groups of few scans."""
    members = {
        group: [values for values, own in zip(features, groups, strict=True) if own == group]
        for group in sorted(set(groups))
    }
    return {group: fit_reference(np.stack(own)) for group, own in members.items() if len(own) >= MIN_SCANS}


def fit_reference(features: np.ndarray) -> Reference:
    """Reference of scans for `familiarity_distance`: a record of plain numbers.

    Args:
        features: (scans, features) of at least three scans.

    Returns:
        "scans", their number; "centre" and "spread" of each feature; "correlation" of the features, shrunk towards none
        (Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4), its rows up to the diagonal one after the other;
        "limit" of the distance.
    """
    count = len(features)
    own = sorted(
        familiarity_distance(values, _statistics(np.delete(features, number, axis=0)))[0]
        for number, values in enumerate(features)
    )
    rank = min(ceil((count + 1) * (1 - FALSE_ALARMS)), count)  # of a new scan among them, all orders being as likely
    return {"scans": count, "limit": round(own[rank - 1], 3)} | {
        name: np.round(values, 3).tolist() for name, values in _statistics(features).items()
    }


def _statistics(features: np.ndarray) -> dict[str, np.ndarray]:
    low, high = np.percentile(features, CENTRAL, axis=0)
    smallest = np.full(features.shape[1], SMALLEST_SPREAD)
    smallest[LOG_SIZE] = SMALLEST_SIZE_SPREAD
    centre, spread = np.median(features, axis=0), np.maximum((high - low) / CENTRAL_WIDTH, smallest)
    deviations = np.clip((features - centre) / spread, -LARGEST_DEVIATION, LARGEST_DEVIATION)
    correlation = LedoitWolf().fit(deviations).covariance_
    return {"centre": centre, "spread": spread, "correlation": correlation[np.tril_indices(len(correlation))]}


def familiarity_distance(values: np.ndarray, reference: Reference) -> tuple[float, np.ndarray]:
    """Distance of a scan from a reference, to be compared with its "limit", and the deviation of each feature.

    Args:
        values: see `scan_features`.
        reference: see `fit_reference`; without "correlation", the features are taken as independent.

    Returns:
        Mahalanobis distance divided by the square root of the number of features, and the deviations, (features,), in
        standard deviations.
    """
    deviations = (values - np.array(reference["centre"])) / np.array(reference["spread"])
    correlation = np.eye(len(deviations))
    if "correlation" in reference:
        correlation[np.tril_indices(len(deviations))] = reference["correlation"]
        correlation = np.tril(correlation) + np.tril(correlation, -1).T
    return float(np.sqrt(deviations @ np.linalg.solve(correlation, deviations) / len(deviations))), deviations


class CheckFamiliard(MapTransform):
    """Warn about scans that do not resemble the training scans, and write `familiarity.csv`, one row per case.

    Without a reference for the scan's domain and number of channels, no more is told than equal channels.

    Args:
        keys: the preprocessed image (C, X, Y, Z); its meta data may name its domain.
        references: by domain, see `fit_references`.
        channels: their names.
        output_dir: output folder, created if needed.
    """

    FIELDS = ("case", "distance", "limit", "familiar", "differs_in")

    def __init__(
        self, keys: KeysCollection, references: Mapping[str, Reference], channels: Sequence[str], output_dir: PathLike
    ) -> None:
        super().__init__(keys)
        self.references, self.output_dir = references, Path(output_dir)
        self.channels, self.names = list(channels), feature_names(channels)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the row and return the item unchanged."""
        for key in self.key_iterator(data):
            image, case = cast(MetaTensor, data[key]), case_name(data, key)
            copies = copied_channels(image, self.channels)
            if copies:
                logger.warning(
                    "%s: %s: the same image twice. A sequence that is missing cannot be replaced by another one; the "
                    "result is unreliable.", case, ", ".join(copies),
                )  # fmt: skip
            reference = self.references.get(image.meta.get("domain", ALL))
            if reference is None or len(reference["centre"]) != len(self.names):
                continue
            total, deviations = familiarity_distance(scan_features(image), reference)
            far = total > reference["limit"]
            furthest = [self.names[k] for k in np.argsort(-np.abs(deviations))[:NAMED]]
            row = {"case": case, "distance": f"{total:.3g}", "limit": f"{reference['limit']:.3g}"}
            told = [*copies, *(furthest if far else [])]
            row |= {"familiar": "no" if told else "yes", "differs_in": "; ".join(told)}
            write_rows(self.output_dir / "familiarity.csv", self.FIELDS, [row])
            if far:
                logger.warning(
                    "%s: does not resemble the %d training scans (distance %.3g, limit %.3g), mostly in its %s; is it "
                    "the same body part, modality and contrast? The result is unreliable.%s",
                    case, reference["scans"], total, reference["limit"], ", ".join(furthest), _advice(image),
                )  # fmt: skip
        return dict(data)


def _advice(image: MetaTensor) -> str:
    """The usual cause in heads, which have a constant background."""
    if "intensity_background" not in image.meta:
        return ""
    return " If this is a head: the skull must be on or off as in the training scans (HD-BET and SynthStrip strip it)."
