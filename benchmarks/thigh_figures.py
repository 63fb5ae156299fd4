"""Images of the thigh model card: the box plot of figure 2, and held-out phantoms processed with the method.

Needs matplotlib.

    python -m benchmarks.thigh_figures --data PREPARED
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from transeg.bundle.runs import WEIGHTS
from transeg.data.datalist import read_datalist
from transeg.methods.thigh.classical.mixture import segment_mixture
from transeg.metrics.overlap import dice
from transeg.visual.panel import Tile, panel
from transeg.visual.tiles import PREDICTION, REFERENCE, diverging, grey, upright

from benchmarks.results import read_result
from benchmarks.thigh_phantoms import BUNDLE, load, translate

DOCS = BUNDLE / "docs"


def box_plot(path: Path) -> None:
    """Median, quartiles, minimum and maximum over patients, pooled over seeds."""
    import matplotlib.pyplot as plt

    table = read_result("thigh_phantoms")["figures"]["dice"]
    segmenters = list(table["OI"][0])
    figure, axes = plt.subplots(1, len(segmenters), figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, segmenter in zip(axes, segmenters, strict=True):
        values = [[v for run in runs for v in run[segmenter].values()] for runs in table.values()]
        axis.boxplot(values, whis=(0, 100), tick_labels=list(table), medianprops={"color": "tab:orange"})
        axis.set_title(segmenter)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("Dice")
    figure.savefig(path, dpi=110)


def phantoms(data: Path, weights: Path, path: Path, rows: int = 3) -> None:
    """Scan, translation, difference, both masks and reference."""
    images, masks, _ = load(read_datalist(data / "datalist.json", "test_volumes")[:rows])
    translations = translate(images, weights)
    lines, captions = [], []
    for case, image in images.items():
        found = {"scan": segment_mixture(image)[0], "translation": segment_mixture(translations[case])[0]}
        z = image.shape[-1] // 2
        scan, easy, before, after, true = (
            upright(volume[..., z]) for volume in (image, translations[case], *found.values(), masks[case])
        )
        ground, translated = (grey(x, -1, 1) for x in (scan, easy))
        lines.append(
            [
                Tile(ground),
                Tile(translated),
                Tile(diverging(scan - easy, 1)),
                Tile(ground, [(before, PREDICTION)]),
                Tile(translated, [(after, PREDICTION)]),
                Tile(ground, [(true, REFERENCE)]),
            ]
        )
        scores = {name: f"{dice(mask, masks[case]):.2f}" for name, mask in found.items()}
        captions.append(f"{case}: Dice {scores['scan']} on the scan, {scores['translation']} on its translation")
    titles = ("scan", "translation", "darkening", "GMM of the scan", "GMM of the translation", "reference")
    Image.fromarray(panel(lines, titles, captions)).save(path)


def main(data: Annotated[Path, typer.Option(help="Prepared phantoms, as for benchmarks.thigh_phantoms.")]) -> None:
    """Save both images."""
    phantoms(data, BUNDLE / WEIGHTS, DOCS / "phantoms.png")
    box_plot(DOCS / "thigh_phantoms.png")


if __name__ == "__main__":
    typer.run(main)
