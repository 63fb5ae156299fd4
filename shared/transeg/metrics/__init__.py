"""The only Dice, surface distance and false-alarm rate of the project."""

from transeg.metrics.global_dice import GlobalDice
from transeg.metrics.overlap import bootstrap_interval, dice, false_alarm_rate
from transeg.metrics.surface import hausdorff95

__all__ = ["GlobalDice", "bootstrap_interval", "dice", "false_alarm_rate", "hausdorff95"]
