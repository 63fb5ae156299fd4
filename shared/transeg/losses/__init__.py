"""Losses that several methods use: functions of raw logits, without weights."""

from transeg.lazy import submodules

__getattr__ = submodules(__name__)
