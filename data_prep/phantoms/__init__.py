"""Phantoms in the raw layout of real data sets, with exact masks and without licence or download."""

from data_prep.phantoms.brain import BrainPhantom, brain_phantom
from data_prep.phantoms.heart import HeartPhantom, heart_phantom
from data_prep.phantoms.liver import LiverPhantom, liver_phantom
from data_prep.phantoms.thigh import ThighPhantom, thigh_phantom

__all__ = [
    "BrainPhantom",
    "HeartPhantom",
    "LiverPhantom",
    "ThighPhantom",
    "brain_phantom",
    "heart_phantom",
    "liver_phantom",
    "thigh_phantom",
]
