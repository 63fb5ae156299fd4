"""Scores of axial slices as Andermatt et al. 2018 (PathoGAN, Table 1) report them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from transeg.metrics.overlap import dice, false_alarm_rate
from transeg.metrics.surface import average_distance, hausdorff95

NAN = float("nan")


class SliceScore(NamedTuple):
    """Scores of one axial slice.

    Attributes:
        z: index in the volume.
        pathological: whether the label has more than `min_pixels` pixels; healthy slices have none.
        label_pixels: pixels of the label.
        predicted_pixels: pixels of the prediction.
        dice: 0 to 1, 0 for an empty prediction; NaN in a healthy slice, as both distances.
        hd95: 95 % Hausdorff distance in pixels; the diagonal of the slice for an empty prediction.
        avd: average Hausdorff distance in pixels; the diagonal likewise.
        empty_prediction: pathological without any predicted pixel.
        false_alarm: healthy with predicted pixels.
    """

    z: int
    pathological: bool
    label_pixels: int
    predicted_pixels: int
    dice: float
    hd95: float
    avd: float
    empty_prediction: bool
    false_alarm: bool


@dataclass(frozen=True)
class PatientScore:
    """Scores of one patient.

    Attributes:
        dice: of the stack of pathological slices ("Dice PP" of the paper); NaN without any.
        dice_all: of the stack of all selected slices, so that false alarms count; NaN if both masks are empty.
        left_out: selected slices that are neither pathological nor healthy.
        slices: the others.
    """

    dice: float
    dice_all: float
    left_out: int
    slices: tuple[SliceScore, ...]


@dataclass(frozen=True)
class Spread:
    """Distribution of the defined (not NaN) values of a score, with the population standard deviation."""

    mean: float
    std: float
    median: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise values; NaN if none is defined."""
        kept = np.array([value for value in values if not np.isnan(value)])
        return cls(*(float(f(kept)) for f in (np.mean, np.std, np.median))) if len(kept) else cls(NAN, NAN, NAN)


@dataclass(frozen=True)
class SliceSummary:
    """All patients: counts of slices, and spreads over pathological slices and over patients.

    The spreads include pathological slices with an empty prediction.
    """

    patients: int
    pathological_slices: int
    healthy_slices: int
    left_out_slices: int
    empty_predictions: int
    false_alarms: int
    false_alarm_rate: float
    slice_dice: Spread
    slice_hd95: Spread
    slice_avd: Spread
    patient_dice: Spread
    patient_dice_all: Spread


def score_patient(
    prediction: ArrayLike, label: ArrayLike, slices: Iterable[int] | None = None, min_pixels: float = 20.0
) -> PatientScore:
    """Score the axial slices of one patient.

    Args:
        prediction: mask (X, Y, Z), non-zero = inside.
        label: mask (X, Y, Z).
        slices: indices z of the slices to score; default all.
        min_pixels: label pixels that a pathological slice must exceed; slices with fewer are left out.

    Raises:
        ValueError: shapes differ or are not three-dimensional.
        IndexError: a slice outside the volume.
    """
    s, y = np.asarray(prediction) != 0, np.asarray(label) != 0
    if s.shape != y.shape or s.ndim != 3:
        raise ValueError(f"prediction {s.shape} and label {y.shape} must have one shape (X, Y, Z)")
    selected = list(range(s.shape[2]) if slices is None else slices)
    pixels = y[..., selected].sum(axis=(0, 1))
    evaluated = [z for z, n in zip(selected, pixels, strict=True) if n == 0 or n > min_pixels]
    scores = tuple(_score_slice(z, s[..., z], y[..., z]) for z in evaluated)
    pathological = [score.z for score in scores if score.pathological]
    return PatientScore(
        dice=dice(s[..., pathological], y[..., pathological]),
        dice_all=dice(s[..., selected], y[..., selected]),
        left_out=len(selected) - len(scores),
        slices=scores,
    )


def _score_slice(z: int, s: np.ndarray, y: np.ndarray) -> SliceScore:
    pathological, predicted = bool(y.any()), bool(s.any())
    return SliceScore(
        z,
        pathological,
        label_pixels=int(y.sum()),
        predicted_pixels=int(s.sum()),
        dice=dice(s, y) if pathological else NAN,
        hd95=hausdorff95(s, y) if pathological else NAN,
        avd=average_distance(s, y) if pathological else NAN,
        empty_prediction=pathological and not predicted,
        false_alarm=predicted and not pathological,
    )


def summarise_patients(patients: Sequence[PatientScore]) -> SliceSummary:
    """Pool the slices of all patients."""
    slices = [score for patient in patients for score in patient.slices]
    pathological = [score for score in slices if score.pathological]
    pixels = np.array([[score.predicted_pixels, score.label_pixels] for score in slices])
    return SliceSummary(
        patients=len(patients),
        pathological_slices=len(pathological),
        healthy_slices=len(slices) - len(pathological),
        left_out_slices=sum(patient.left_out for patient in patients),
        empty_predictions=sum(score.empty_prediction for score in slices),
        false_alarms=sum(score.false_alarm for score in slices),
        false_alarm_rate=false_alarm_rate(pixels[:, :1], pixels[:, 1:]) if slices else NAN,
        slice_dice=Spread.of(score.dice for score in pathological),
        slice_hd95=Spread.of(score.hd95 for score in pathological),
        slice_avd=Spread.of(score.avd for score in pathological),
        patient_dice=Spread.of(patient.dice for patient in patients),
        patient_dice_all=Spread.of(patient.dice_all for patient in patients),
    )
