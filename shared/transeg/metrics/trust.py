"""Plausibility of a translation: implausible changes of location, sign and shape.

A generator trained on unpaired images may invent or erase anatomy. The checks need no reference: they compare a scan
with its translation. Gadermayr et al. 2021 allow a translated thigh muscle to get darker only (their L_r) and assume
that its shape is preserved (their section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import foreground_level, silhouette
from transeg.metrics.surface import hausdorff95


@dataclass(frozen=True)
class TrustLimits:
    """Limits beyond which a translation is flagged.

    Attributes:
        outside: maximum share of the change outside the plausible region.
        wrong_sign: maximum share of the change against the allowed sign.
        silhouette_dice: minimum Dice of the foregrounds of source and translation.
        displacement_mm: maximum 95 % Hausdorff distance of the foregrounds.
        removed: maximum share of the source's mask that is missing in the translation's.
    """

    outside: float = 0.1
    wrong_sign: float = 0.1
    silhouette_dice: float = 0.95
    displacement_mm: float = 6.0
    removed: float = 0.15


@dataclass(frozen=True)
class TrustReport:
    """Changes made by a translation: volumes in ml, and shares of the sum of absolute changes.

    Attributes:
        changed_ml: volume that changed by more than the tolerance.
        outside_ml: changed volume outside the plausible region.
        outside_share: share of the change outside the plausible region.
        wrong_sign_ml: changed volume with the wrong sign; NaN without an allowed sign.
        wrong_sign_share: share of the change with the wrong sign; NaN without an allowed sign.
        silhouette_dice: Dice of the foregrounds of source and translation.
        silhouette_ml: volume of the translation's foreground minus that of the source's.
        displacement_mm: 95 % Hausdorff distance of the two foregrounds.
        added_ml: only in the mask of the translation ("repaired"); NaN without masks.
        removed_ml: only in the mask of the source; NaN without masks.
        kept_ml: in both masks; NaN without masks.
        flagged: whether a limit is exceeded.
        sentence: the findings as text.
    """

    changed_ml: float
    outside_ml: float
    outside_share: float
    wrong_sign_ml: float
    wrong_sign_share: float
    silhouette_dice: float
    silhouette_ml: float
    displacement_mm: float
    added_ml: float
    removed_ml: float
    kept_ml: float
    flagged: bool
    sentence: str

    def as_dict(self) -> dict[str, float | bool | str]:
        """Fields by name, for CSV and JSON."""
        return asdict(self)


def trust_report(
    source: np.ndarray,
    translation: np.ndarray,
    *,
    spacing: Sequence[float] | float = 1.0,
    sign: int | None = None,
    region: np.ndarray | None = None,
    source_mask: np.ndarray | None = None,
    translation_mask: np.ndarray | None = None,
    foregrounds: Sequence[np.ndarray] | None = None,
    tolerance: float = 0.1,
    limits: TrustLimits | None = None,
) -> TrustReport:
    """Compare a scan with its translation.

    Args:
        source: one channel (X, Y, Z), slices along Z, background dark.
        translation: the same shape and units.
        spacing: voxel size in mm, one or three numbers.
        sign: changes that the method allows: -1 only darker, +1 only brighter, None both.
        region: bool (X, Y, Z) where changes are plausible; default the foreground of the source.
        source_mask: segmentation of the source (X, Y, Z).
        translation_mask: segmentation of the translation; give both masks or neither.
        foregrounds: bool (X, Y, Z) of source and translation; default their silhouettes at the source's threshold.
        tolerance: smallest change that counts, relative to the source's intensity range (0.5 to 99.5 percentile).
        limits: default `TrustLimits()`.

    Raises:
        ValueError: shapes differ, or only one mask is given.
    """
    source, translation = np.asarray(source, np.float32), np.asarray(translation, np.float32)
    others = [x for x in (translation, region, source_mask, translation_mask) if x is not None]
    if any(np.shape(x) != source.shape for x in others):
        raise ValueError(f"source {source.shape} and {[np.shape(x) for x in others]} differ in shape")
    if (source_mask is None) != (translation_mask is None):
        raise ValueError("give the masks of both source and translation, or none")
    ml = float(np.broadcast_to(np.asarray(spacing, dtype=float), (3,)).prod()) / 1000
    if foregrounds is None:
        level = foreground_level(source)
        foregrounds = silhouette(source, level), silhouette(translation, level)
    before, after = foregrounds
    region = before if region is None else np.asarray(region) != 0
    change = relative_change(source, translation)
    amount = np.where(np.abs(change) > tolerance, np.abs(change), 0)
    total = float(amount.sum()) or 1.0
    against = np.zeros_like(before) if sign is None else change * sign < 0
    unknown = float("nan")
    values = {
        "changed_ml": ml * np.count_nonzero(amount),
        "outside_ml": ml * np.count_nonzero(amount[~region]),
        "outside_share": float(amount[~region].sum()) / total,
        "wrong_sign_ml": unknown if sign is None else ml * np.count_nonzero(amount[against]),
        "wrong_sign_share": unknown if sign is None else float(amount[against].sum()) / total,
        "silhouette_dice": dice(before, after),
        "silhouette_ml": ml * (int(after.sum()) - int(before.sum())),
        "displacement_mm": hausdorff95(after, before, spacing),
        "added_ml": unknown,
        "removed_ml": unknown,
        "kept_ml": unknown,
    }
    if source_mask is not None:
        old, new = np.asarray(source_mask) != 0, np.asarray(translation_mask) != 0
        pairs = {"added_ml": new & ~old, "removed_ml": old & ~new, "kept_ml": old & new}
        values |= {name: ml * int(part.sum()) for name, part in pairs.items()}
    faults = _faults(values, sign, limits or TrustLimits())
    return TrustReport(**values, flagged=bool(faults), sentence=_sentence(faults))


def relative_change(source: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Translation minus source, relative to the source's intensity range (0.5 to 99.5 percentile)."""
    low, high = np.percentile(source, [0.5, 99.5])
    return (translation - source) / (high - low if high > low else 1.0)


def _faults(values: dict[str, float], sign: int | None, limits: TrustLimits) -> list[str]:
    """Values beyond a limit; NaN (not measured) never is."""
    direction = "brighter" if sign == -1 else "darker"
    had = values["removed_ml"] + values["kept_ml"]
    checks = {
        f"{values['outside_share']:.0%} of the change lies outside the plausible region "
        f"({values['outside_ml']:.0f} ml)": values["outside_share"] > limits.outside,
        f"{values['wrong_sign_share']:.0%} of the change makes tissue {direction}, which the method rules out "
        f"({values['wrong_sign_ml']:.0f} ml)": values["wrong_sign_share"] > limits.wrong_sign,
        f"the outline of the body differs (Dice {values['silhouette_dice']:.2f}, {values['silhouette_ml']:+.0f} ml, "
        f"{values['displacement_mm']:.0f} mm)": not values["silhouette_dice"] >= limits.silhouette_dice
        or values["displacement_mm"] > limits.displacement_mm,
        f"{values['removed_ml']:.0f} of {had:.0f} ml that were segmented before are missing": values["removed_ml"]
        > limits.removed * had,
    }
    return [text for text, crossed in checks.items() if crossed]


def _sentence(faults: list[str]) -> str:
    if not faults:
        return "No implausible change found."
    return f"Review this case visually: {'; '.join(faults)}."
