"""A grid of captioned images on a dark background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from transeg.visual.tiles import RGB

GROUND, EMPTY, TITLE, CAPTION = (16, 17, 20), (24, 25, 29), (232, 232, 236), (150, 152, 160)
GAP, MARGIN, SHORTEST = 6, 14, 190


@dataclass
class Tile:
    """One image of the grid: uint8 (H, W, 3), masks (H, W) with the colours of their outlines, and letters for what is
    on the left and on the right ("RL"), if any.
    """

    pixels: RGB
    outlines: list[tuple[np.ndarray, tuple[int, int, int]]] = field(default_factory=list)
    sides: str = ""

    def render(self, factor: int) -> Image.Image:
        """Enlarge by an integer factor; outlines are drawn afterwards and so stay thin."""
        height, width = self.pixels.shape[:2]
        size = (width * factor, height * factor)
        image = np.asarray(Image.fromarray(self.pixels).resize(size, Image.Resampling.BICUBIC)).copy()
        for mask, colour in self.outlines:
            level = Image.fromarray(np.asarray(mask, dtype=np.float32)).resize(size, Image.Resampling.BILINEAR)
            inside = np.asarray(level) >= 0.5
            image[inside] = 0.82 * image[inside] + 0.18 * np.array(colour)
            image[inside & ~binary_erosion(inside, iterations=2 if factor > 1 else 1)] = colour
        return Image.fromarray(image)


def panel(rows: Sequence[Sequence[Tile | None]], titles: Sequence[str], captions: Sequence[str] | None = None) -> RGB:
    """Draw rows of tiles under column titles.

    Args:
        rows: tiles of one size, in each row one per title; None leaves a cell empty. Small tiles are enlarged by an
            integer factor.
        titles: of the columns.
        captions: one below each row (a case, a score); omitted if all are empty.

    Returns:
        uint8 (height, width, 3).

    Raises:
        ValueError: no tiles, or mismatched counts or sizes.
    """
    shapes = {tile.pixels.shape[:2] for row in rows for tile in row if tile is not None}
    if len(shapes) != 1:
        raise ValueError(f"a panel needs tiles of one size, got {sorted(shapes) or 'none'}")
    if any(len(row) != len(titles) for row in rows):
        raise ValueError(f"rows of {[len(row) for row in rows]} tiles do not match {len(titles)} titles")
    if captions is not None and len(captions) != len(rows):
        raise ValueError(f"{len(captions)} captions do not match {len(rows)} rows")
    height, width = shapes.pop()
    factor = max(1, round(SHORTEST / min(height, width)))
    font, small = ImageFont.load_default(15), ImageFont.load_default(13)
    cell = max(width * factor, max(int(font.getlength(title)) for title in titles) + 4)
    captions = captions if captions and any(captions) else None
    under = 22 if captions else 0
    size = (
        2 * MARGIN + len(titles) * (cell + GAP) - GAP,
        2 * MARGIN + 24 + len(rows) * (height * factor + GAP + under) - GAP,
    )
    image = Image.new("RGB", size, GROUND)
    draw = ImageDraw.Draw(image)
    for column, title in enumerate(titles):
        draw.text((MARGIN + column * (cell + GAP) + cell / 2, MARGIN), title, TITLE, font, anchor="ma")
    for line, row in enumerate(rows):
        top = MARGIN + 24 + line * (height * factor + GAP + under)
        for column, tile in enumerate(row):
            left = MARGIN + column * (cell + GAP) + (cell - width * factor) // 2
            if tile is None:
                draw.rectangle((left, top, left + width * factor - 1, top + height * factor - 1), EMPTY)
            else:
                image.paste(tile.render(factor), (left, top))
                edges = ((left + 3, "lm"), (left + width * factor - 4, "rm"))
                for side, (x, anchor) in zip(tile.sides, edges, strict=False):
                    place = (x, top + height * factor // 2)
                    draw.text(place, side, TITLE, small, anchor=anchor, stroke_width=1, stroke_fill=GROUND)
        if captions:
            draw.text((MARGIN, top + height * factor + 3), captions[line], CAPTION, small)
    return np.asarray(image)
