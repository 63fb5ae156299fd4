"""Losses, one function per equation, on raw logits; no weights, no configuration."""

from transeg.losses.adversarial import hinge_discriminator, hinge_generator
from transeg.losses.consistency import prediction_consistency
from transeg.losses.information import mutual_information_bound
from transeg.losses.ranks import roll_over_ranks
from transeg.losses.reconstruction import absolute_error
from transeg.losses.segmentation import soft_dice

__all__ = [
    "absolute_error",
    "hinge_discriminator",
    "hinge_generator",
    "mutual_information_bound",
    "prediction_consistency",
    "roll_over_ranks",
    "soft_dice",
]
