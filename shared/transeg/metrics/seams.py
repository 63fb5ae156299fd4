"""Tile seams in volumes that are processed in tiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def seam_score(volume: np.ndarray, edges: Sequence[Sequence[int]]) -> float:
    """Mean absolute step across tile edges, relative to that between all other neighbours; 1 means no seam.

    Args:
        volume: (X, Y, Z) or any other number of axes.
        edges: per axis the positions at which tiles begin, without the first; see
            `transeg.inferers.tiled.tile_edges`.

    Returns:
        The ratio; NaN without an edge, or if the volume is constant elsewhere.

    Raises:
        ValueError: not one sequence per axis, or a position outside the volume.
    """
    volume = np.asarray(volume, dtype=np.float32)
    if len(edges) != volume.ndim or any(not 0 < k < n for n, ks in zip(volume.shape, edges, strict=False) for k in ks):
        raise ValueError(f"edges {[list(ks) for ks in edges]} are not within a volume of {volume.shape}")
    at, elsewhere = [], []
    for axis, positions in enumerate(edges):
        steps = np.moveaxis(np.abs(np.diff(volume, axis=axis)), axis, 0)
        here = np.isin(np.arange(1, volume.shape[axis]), positions)
        at.append(steps[here].ravel())
        elsewhere.append(steps[~here].ravel())
    across, between = (np.concatenate(steps) for steps in (at, elsewhere))
    base = float(between.mean(dtype=np.float64)) if between.size else 0.0
    return float(across.mean(dtype=np.float64)) / base if across.size and base else float("nan")
