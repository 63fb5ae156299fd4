"""Pictures: source, healthy translation, residual, mask and reference side by side."""

from transeg.visual.cardiac import CUT_TITLES, CardiacPanel, orthogonal_cuts, region_overlay
from transeg.visual.genseg import GenSegPanel
from transeg.visual.hard_to_easy import HardToEasyPanel
from transeg.visual.panel import Tile, panel
from transeg.visual.pathogan import PathoGANPanel
from transeg.visual.tiles import diverging, grey, heat, upright, window
from transeg.visual.trust import change_overlay, change_parts, trust_panel
from transeg.visual.volumes import VOLUME_TITLES, volume_row, widest_slice

__all__ = [
    "CUT_TITLES",
    "VOLUME_TITLES",
    "CardiacPanel",
    "GenSegPanel",
    "HardToEasyPanel",
    "PathoGANPanel",
    "Tile",
    "change_overlay",
    "change_parts",
    "diverging",
    "grey",
    "heat",
    "orthogonal_cuts",
    "panel",
    "region_overlay",
    "trust_panel",
    "upright",
    "volume_row",
    "widest_slice",
    "window",
]
