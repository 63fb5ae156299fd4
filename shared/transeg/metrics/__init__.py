"""The only Dice, surface distance and false-alarm rate of the project; trust in a translation; muscle of legs."""

from transeg.metrics.compartment import muscle_compartment
from transeg.metrics.global_dice import GlobalDice
from transeg.metrics.legs import LegMuscle, measure_legs, share_under_skin, split_legs
from transeg.metrics.overlap import dice, false_alarm_rate
from transeg.metrics.regions import RegionChange, region_changes, region_dice
from transeg.metrics.seams import seam_score
from transeg.metrics.silhouette import foreground_level, silhouette
from transeg.metrics.slices import (
    PatientScore,
    SliceScore,
    SliceSummary,
    Spread,
    score_patient,
    slices_between,
    summarise_patients,
)
from transeg.metrics.surface import average_distance, hausdorff95
from transeg.metrics.threshold import best_threshold
from transeg.metrics.trust import TrustLimits, TrustReport, trust_report

__all__ = [
    "GlobalDice",
    "LegMuscle",
    "PatientScore",
    "RegionChange",
    "SliceScore",
    "SliceSummary",
    "Spread",
    "TrustLimits",
    "TrustReport",
    "average_distance",
    "best_threshold",
    "dice",
    "false_alarm_rate",
    "foreground_level",
    "hausdorff95",
    "measure_legs",
    "muscle_compartment",
    "region_changes",
    "region_dice",
    "score_patient",
    "seam_score",
    "share_under_skin",
    "silhouette",
    "slices_between",
    "split_legs",
    "summarise_patients",
    "trust_report",
]
