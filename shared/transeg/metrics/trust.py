"""Plausibility of a translation: implausible changes of location, sign and shape.

A generator trained on unpaired images may invent or erase anatomy. The checks need no reference: they compare a scan
with its translation. Gadermayr et al. 2021 allow a translated thigh muscle to get darker only (their L_r) and assume
that its shape is preserved (their section 2.1). How much change is plausible depends on weights and data, so a scan is
flagged only by limits calibrated on scans of the same kind, as in conformal prediction (Vovk et al. 2005).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from scipy import ndimage

from transeg.errors import UserError
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import foreground_level, silhouette
from transeg.metrics.surface import hausdorff95

FEWEST = 20  # scans, for false alarms in less than 5 % of scans
SPREADS = {  # smallest
    "outside": 0.02,
    "wrong_sign": 0.02,
    "silhouette": 0.01,
    "displacement_mm": 1.0,
    "removed": 0.02,
    "lump_mm": 1.0,
}
RATE = 0.05  # of false alarms
LEAST = 0.01  # of the body: shares of a change of less, each voxel by the tolerance, are those of that


@dataclass(frozen=True)
class TrustLimits:
    """Limits beyond which a translation is flagged; see `calibrate`.

    Attributes:
        outside: maximum share of the change outside the plausible region.
        wrong_sign: maximum share of the change against the allowed sign.
        silhouette: maximum of 1 minus the Dice of the foregrounds of source and translation.
        displacement_mm: maximum 95 % Hausdorff distance of the foregrounds.
        removed: maximum share of the source's mask that is missing in the translation's.
        scans: number of scans that they are calibrated on.
        lump_mm: maximum radius of a ball of implausible change; older run folders have none.
        reached: how many of these scans reach or exceed a limit.
    """

    outside: float
    wrong_sign: float
    silhouette: float
    displacement_mm: float
    removed: float
    scans: int
    lump_mm: float = float("inf")
    reached: int = 1

    @property
    def rate(self) -> float:
        """Expected share of flagged scans among scans like those of the calibration."""
        return self.reached / (self.scans + 1)


def calibrate(reports: Sequence[Mapping[str, float]], rate: float = RATE) -> TrustLimits:
    """Limits that scans like those of a calibration exceed at no more than a rate.

    A scan is as implausible as its most implausible value: its distance from the median of the calibration in units of
    the value's spread (from the median to the 90th percentile). All limits lie as far out as the k-th most implausible
    scan, so another scan of the same kind exceeds any of them with probability k / (scans + 1).

    Args:
        reports: fields of `TrustReport` of each scan.
        rate: of false alarms, which k follows from; at least one scan in all.

    Raises:
        UserError: fewer than `FEWEST` scans.
    """
    if len(reports) < FEWEST:
        raise UserError(f"{len(reports)} scans to calibrate on; {FEWEST} are needed for false alarms in less than 5 %")
    measured = [_implausibility(report) for report in reports]
    values = np.array([[scan[name] for name in SPREADS] for scan in measured])
    values[:, np.isnan(values).all(axis=0)] = 0  # never measured
    middle, upper = np.nanmedian(values, axis=0), np.nanpercentile(values, 90, axis=0)
    spread = np.maximum(upper - middle, list(SPREADS.values()))
    reached = max(int(rate * (len(reports) + 1)), 1)
    furthest = np.sort(np.nanmax((values - middle) / spread, axis=1))[-reached]
    limits = middle + spread * furthest
    rounded = {name: _round_up(limit) for name, limit in zip(SPREADS, limits.tolist(), strict=True)}
    return TrustLimits(**rounded, scans=len(reports), reached=reached)


def _round_up(value: float) -> float:
    return float(np.ceil(value * 1e4) / 1e4)


def _implausibility(values: Mapping[str, float]) -> dict[str, float]:
    """What is limited, by name as in `TrustLimits`; NaN: not measured."""
    had = values["removed_ml"] + values["kept_ml"]
    return {
        "outside": values["outside_share"],
        "wrong_sign": values["wrong_sign_share"],
        "silhouette": 1 - values["silhouette_dice"],
        "displacement_mm": values["displacement_mm"],
        "removed": values["removed_ml"] / had if had > 0 else float("nan"),
        "lump_mm": values["lump_mm"],
    }


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
        lump_mm: radius of the largest ball of change that is outside the plausible region, has the wrong sign, or
            takes tissue away: invented or erased anatomy lies together, a generator's inaccuracy is scattered.
        added_ml: only in the mask of the translation ("repaired"); NaN without masks.
        removed_ml: only in the mask of the source; NaN without masks.
        kept_ml: in both masks; NaN without masks.
        flagged: whether a limit is exceeded; never without limits.
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
    lump_mm: float
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
        limits: None: nothing is flagged.

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
    level = foreground_level(source)
    if foregrounds is None:
        foregrounds = silhouette(source, level), silhouette(translation, level)
    before, after = foregrounds
    region = before if region is None else np.asarray(region) != 0
    change = relative_change(source, translation)
    amount = np.where(np.abs(change) > tolerance, np.abs(change), 0)
    total = max(float(amount.sum()), tolerance * LEAST * int(before.sum())) or 1.0
    against = np.zeros_like(before) if sign is None else change * sign < 0
    gone = before & (source > level) & (translation <= level)
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
        "lump_mm": largest_ball((amount > 0) & (~region | against | gone), spacing),
        "added_ml": unknown,
        "removed_ml": unknown,
        "kept_ml": unknown,
    }
    if source_mask is not None:
        old, new = np.asarray(source_mask) != 0, np.asarray(translation_mask) != 0
        pairs = {"added_ml": new & ~old, "removed_ml": old & ~new, "kept_ml": old & new}
        values |= {name: ml * int(part.sum()) for name, part in pairs.items()}
    faults = [] if limits is None else _faults(values, sign, limits)
    return TrustReport(**values, flagged=bool(faults), sentence=_sentence(faults, limits))


def largest_ball(mask: np.ndarray, spacing: Sequence[float] | float = 1.0) -> float:
    """Radius in mm of the largest ball in a mask (X, Y, Z): the distance of its centre to the next voxel outside.

    Beyond the volume nothing belongs to the mask.
    """
    sampling = np.broadcast_to(np.asarray(spacing, dtype=float), (3,))
    return float(ndimage.distance_transform_edt(np.pad(mask, 1), sampling).max()) if mask.any() else 0.0


def relative_change(source: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Translation minus source, relative to the source's intensity range (0.5 to 99.5 percentile)."""
    low, high = np.percentile(source, [0.5, 99.5])
    return (translation - source) / (high - low if high > low else 1.0)


def _faults(values: dict[str, float], sign: int | None, limits: TrustLimits) -> list[str]:
    """Values beyond a limit; NaN (not measured) never is, except where a foreground is empty."""
    direction = "brighter" if sign == -1 else "darker"
    had = values["removed_ml"] + values["kept_ml"]
    found = _implausibility(values)
    beyond = {name for name in SPREADS if found[name] > getattr(limits, name)}
    lost = np.isnan(values["silhouette_dice"])
    checks = {
        f"{values['outside_share']:.0%} of the change lies outside the plausible region "
        f"({values['outside_ml']:.0f} ml)": "outside" in beyond,
        f"{values['wrong_sign_share']:.0%} of the change makes tissue {direction}, which the method rules out "
        f"({values['wrong_sign_ml']:.0f} ml)": "wrong_sign" in beyond,
        f"the outline of the body differs (Dice {values['silhouette_dice']:.2f}, {values['silhouette_ml']:+.0f} ml, "
        f"{values['displacement_mm']:.0f} mm)": bool(lost or beyond & {"silhouette", "displacement_mm"}),
        f"an implausible change fills a ball of {values['lump_mm']:.0f} mm radius; anatomy may be invented or "
        "erased": "lump_mm" in beyond,
        f"{values['removed_ml']:.0f} of {had:.0f} ml that were segmented before are missing": "removed" in beyond,
    }
    return [text for text, crossed in checks.items() if crossed]


def _sentence(faults: list[str], limits: TrustLimits | None) -> str:
    if limits is None:
        return "Not flagged: these weights have no calibrated limits."
    if not faults:
        return "No implausible change found."
    return (
        f"Review this case visually: {'; '.join(faults)}. About {limits.rate:.1%} of scans like the {limits.scans} "
        "that set the limits are flagged without cause."
    )
