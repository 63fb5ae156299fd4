"""Objectives, one file per method: the paper as code. They return named, unweighted terms."""

from transeg.objectives.baselines import AutoencodingObjective, MeanTeacherObjective, SegmentationObjective
from transeg.objectives.cardiac import CardiacObjective
from transeg.objectives.genseg import GenSegObjective
from transeg.objectives.hard_to_easy import HardToEasyObjective
from transeg.objectives.pathogan import PathoGANObjective

__all__ = [
    "AutoencodingObjective",
    "CardiacObjective",
    "GenSegObjective",
    "HardToEasyObjective",
    "MeanTeacherObjective",
    "PathoGANObjective",
    "SegmentationObjective",
]
