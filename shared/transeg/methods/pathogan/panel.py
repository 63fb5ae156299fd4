"""Training panel of PathoGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import RGB, grey, heat, upright


class PathoGANPanel:
    """Draw the first images of a training iteration, one row for each.

    Columns: pathological image x_B, its label map l_B, inpainting p_B, healthy translation y_A and the way back; then
    the same from a healthy image x_A.

    Args:
        rows: number of rows.
        channel: image channel to show.
    """

    def __init__(self, rows: int = 4, channel: int = 0) -> None:
        self.rows, self.channel = rows, channel

    def __call__(self, output: Mapping[str, Any]) -> RGB:
        """Draw the trainer's output, whose "translation" is a `PathoGANTranslation` -> uint8 (H, W, 3)."""
        t = output["translation"]
        columns = {"x_B": t.x_b, "l_B": t.u_b, "p_B": t.p_b, "y_A": t.y_a, "back to B": t.x_b_back}
        columns |= {"x_A": t.x_a, "l_A": t.u_a, "p_A": t.p_a, "y_B": t.y_b, "back to A": t.x_a_back}
        rows = [[self._tile(title, images[i]) for title, images in columns.items()] for i in range(self._count(t))]
        return panel(rows, list(columns))

    def _count(self, t: Any) -> int:
        return min(len(t.x_b), len(t.x_a), self.rows)

    def _tile(self, title: str, image: Tensor) -> Tile:
        """Draw (C, X, Y) or the middle slice of (C, X, Y, Z): an image in [-1, 1] or the logits of a label map."""
        label = title.startswith("l_")
        plane = (torch.sigmoid(image[0].float()) if label else image[self.channel].float()).detach().cpu().numpy()
        plane = upright(plane[..., plane.shape[-1] // 2] if plane.ndim == 3 else plane)
        return Tile(heat(plane) if label else grey(plane, -1.0, 1.0))
