"""Phantoms in the raw layout of real data sets: no licence, no download, true masks."""

from data_prep.phantoms.brain import BrainPhantom, brain_phantom
from data_prep.phantoms.liver import LiverPhantom, liver_phantom
from data_prep.phantoms.thigh import ThighPhantom, thigh_phantom

__all__ = ["BrainPhantom", "LiverPhantom", "ThighPhantom", "brain_phantom", "liver_phantom", "thigh_phantom"]
