"""Pictures: source, healthy translation, residual, mask and reference side by side."""

from transeg.visual.genseg import GenSegPanel
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import diverging, grey, heat, upright, window
from transeg.visual.volumes import VOLUME_TITLES, volume_row, widest_slice

__all__ = [
    "VOLUME_TITLES",
    "GenSegPanel",
    "Tile",
    "diverging",
    "grey",
    "heat",
    "panel",
    "upright",
    "volume_row",
    "widest_slice",
    "window",
]
