"""Losses, one function per equation, on raw logits; no weights, no configuration."""

from transeg.losses.adversarial import (
    cross_entropy_discriminator,
    cross_entropy_generator,
    hinge_discriminator,
    hinge_generator,
    least_squares_discriminator,
    least_squares_generator,
)
from transeg.losses.consistency import prediction_consistency
from transeg.losses.domain import brightening, darkening
from transeg.losses.information import mutual_information_bound
from transeg.losses.inpainting import label_agreement, label_size, region_error, relevancy
from transeg.losses.ranks import roll_over_ranks
from transeg.losses.reconstruction import absolute_error
from transeg.losses.segmentation import soft_dice, voxel_cross_entropy
from transeg.losses.sharing import hand_on, leaf_of
from transeg.losses.variational import normal_divergence

__all__ = [
    "absolute_error",
    "brightening",
    "cross_entropy_discriminator",
    "cross_entropy_generator",
    "darkening",
    "hand_on",
    "hinge_discriminator",
    "hinge_generator",
    "label_agreement",
    "label_size",
    "leaf_of",
    "least_squares_discriminator",
    "least_squares_generator",
    "mutual_information_bound",
    "normal_divergence",
    "prediction_consistency",
    "region_error",
    "relevancy",
    "roll_over_ranks",
    "soft_dice",
    "voxel_cross_entropy",
]
