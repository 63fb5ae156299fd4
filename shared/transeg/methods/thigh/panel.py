"""Panel of a training iteration: images of both domains, their translations and reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, diverging, grey, upright


class ThighPanel:
    """Draw the first images of a training iteration, one per row.

    Columns: hard image h, F(h), their difference (orange: darker, blue: brighter), G(F(h)); then the same for an easy
    image e with F and G exchanged.

    Args:
        rows: maximum number of rows.
    """

    def __init__(self, rows: int = 4) -> None:
        self.rows = rows

    def __call__(self, output: Mapping[str, Any]) -> RGB:
        """Trainer output with a `ThighTranslation` -> uint8 (H, W, 3)."""
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
