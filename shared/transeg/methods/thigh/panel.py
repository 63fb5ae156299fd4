"""The picture that shows how a translation from a hard to an easy domain is going."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, diverging, grey, upright


class ThighPanel:
    """Draw the first images of a training iteration, one row for each.

    Columns: hard image h, F(h), their difference (orange: darker, blue: brighter), G(F(h)), and the same the other way
    round from an easy image e.

    Args:
        rows: number of rows.
    """

    def __init__(self, rows: int = 4) -> None:
        self.rows = rows

    def __call__(self, output: Mapping[str, Any]) -> RGB:
        """Trainer's output with a `ThighTranslation` -> uint8 (H, W, 3)."""
        t = output["translation"]
        columns = {"hard h": t.h, "F(h)": t.f_h, "h - F(h)": t.h - t.f_h, "G(F(h))": t.gf_h}
        columns |= {"easy e": t.e, "G(e)": t.g_e, "e - G(e)": t.e - t.g_e, "F(G(e))": t.fg_e}
        rows = [[_tile(title, images[i]) for title, images in columns.items()] for i in range(min(len(t.h), self.rows))]
        return panel(rows, list(columns))


def _tile(title: str, image: Tensor) -> Tile:
    """Middle slice of the first channel of (C, X, Y) or (C, X, Y, Z) in [-1, 1]."""
    plane = image.detach()[0].float().cpu().numpy()
    plane = upright(plane[..., plane.shape[-1] // 2] if plane.ndim == 3 else plane)
    return Tile(diverging(plane, 1.0) if " - " in title else grey(plane, -1.0, 1.0, np.ones(plane.shape, bool)))
