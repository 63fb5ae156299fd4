"""Objectives, one file per method: the paper as code. They return named, unweighted terms."""

from transeg.objectives.baselines import AutoencodingObjective, MeanTeacherObjective, SegmentationObjective
from transeg.objectives.genseg import GenSegObjective

__all__ = ["AutoencodingObjective", "GenSegObjective", "MeanTeacherObjective", "SegmentationObjective"]
