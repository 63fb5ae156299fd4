"""The only Dice, surface distance and false-alarm rate of the project."""

from transeg.metrics.global_dice import GlobalDice
from transeg.metrics.overlap import bootstrap_interval, dice, false_alarm_rate
from transeg.metrics.silhouette import foreground_level, silhouette
from transeg.metrics.surface import hausdorff95
from transeg.metrics.threshold import best_threshold

__all__ = [
    "GlobalDice",
    "best_threshold",
    "bootstrap_interval",
    "dice",
    "false_alarm_rate",
    "foreground_level",
    "hausdorff95",
    "silhouette",
]
