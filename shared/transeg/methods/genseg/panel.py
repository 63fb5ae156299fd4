"""Training panel of GenSeg and its baselines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import PREDICTION, REFERENCE, RGB, diverging, grey, upright, window


class GenSegPanel:
    """Draw the first images of a training iteration: one row for each, labelled ones first.

    Columns: presence image, its healthy translation, residual (orange: removed, blue: added), segmentation,
    reference, absence image, its translation to presence. Columns that the objective does not compute are left out.

    Args:
        rows: number of rows.
        channel: image channel to show.
        turn: slices (X, Y) in radiological display (medical images); False for images (rows, columns).
    """

    def __init__(self, rows: int = 4, channel: int = 0, turn: bool = True) -> None:
        self.rows, self.channel, self.turn = rows, channel, turn

    def __call__(self, output: Mapping[str, Any]) -> RGB:
        """Draw the trainer's output, whose "translation" names images as the paper does -> uint8 (H, W, 3)."""
        t = output["translation"]
        count = len(t.x_p)
        labelled = [] if t.labelled is None else t.labelled.flatten().nonzero().flatten().tolist()
        order = labelled + [i for i in range(count) if i not in labelled]
        rows = [self._row(t, i, labelled.index(i) if i in labelled else None) for i in order[: self.rows]]
        titles = list(rows[0])
        return panel([[row[title] for title in titles] for row in rows], titles)

    def _row(self, t: Any, i: int, label: int | None) -> dict[str, Tile | None]:
        inside = self._slice((t.x_p[i] != 0).any(dim=0, keepdim=True), 0)
        source = self._slice(t.x_p[i], self.channel)
        low, high = window(source, inside)
        ground = grey(source, low, high, inside)
        row: dict[str, Tile | None] = {"presence": Tile(ground)}
        if getattr(t, "x_pa", None) is not None:
            healthy = self._slice(t.x_pa[i], self.channel)
            row["healthy translation"] = Tile(grey(healthy, low, high, inside))
            row["residual"] = Tile(diverging((source - healthy) * inside, (high - low) / 2))
        row["segmentation"] = row["reference"] = None
        if label is not None and t.seg is not None:
            found, true = self._slice(t.seg[label] > 0, 0), self._slice(t.y[label] > 0, 0)
            row["segmentation"] = Tile(ground, [(found, PREDICTION)])
            row["reference"] = Tile(ground, [(true, REFERENCE)])
        if getattr(t, "x_ap", None) is not None and i < len(t.x_a):
            inside = self._slice((t.x_a[i] != 0).any(dim=0, keepdim=True), 0)
            source = self._slice(t.x_a[i], self.channel)
            low, high = window(source, inside)
            row["absence"] = Tile(grey(source, low, high, inside))
            row["presence translation"] = Tile(grey(self._slice(t.x_ap[i], self.channel), low, high, inside))
        return row

    def _slice(self, image: Tensor, channel: int) -> np.ndarray:
        """(C, X, Y) or (C, X, Y, Z) -> one channel of one slice (the middle one) as an image."""
        plane = image.detach()[channel]
        if plane.ndim == 3:
            plane = plane[..., plane.shape[-1] // 2]
        array = plane.cpu().numpy() if plane.dtype.itemsize == 1 else plane.float().cpu().numpy()
        return upright(array) if self.turn else array
