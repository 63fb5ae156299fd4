"""Segmenters without a network, numpy in and numpy out: mixture, graph cut, shape-prior graph cut."""

from transeg.classical.graph_cut import energy, graph_cut
from transeg.classical.intensity import IntensityModel, count_intensities, learn_intensity, smooth_slices
from transeg.classical.mixture import MixtureError, TissueMixture, fit_mixture, segment_mixture
from transeg.classical.search import Case, SearchResult, grid_search, leave_one_out, paper_grid
from transeg.classical.shape_prior import Leg, cut_legs, load_atlas, register, save_atlas, scan_shape_map, shape_map
from transeg.classical.spgc import CutParameters, filtered, segment_cut, unary_cost

__all__ = [
    "Case",
    "CutParameters",
    "IntensityModel",
    "Leg",
    "MixtureError",
    "SearchResult",
    "TissueMixture",
    "count_intensities",
    "cut_legs",
    "energy",
    "filtered",
    "fit_mixture",
    "graph_cut",
    "grid_search",
    "learn_intensity",
    "leave_one_out",
    "load_atlas",
    "paper_grid",
    "register",
    "save_atlas",
    "scan_shape_map",
    "segment_cut",
    "segment_mixture",
    "shape_map",
    "smooth_slices",
    "unary_cost",
]
