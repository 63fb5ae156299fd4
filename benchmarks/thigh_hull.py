"""What the translation of the thigh must beat: the hull of what a mixture finds in the original, without any training.

On the severe test phantoms of `benchmarks.thigh_phantoms`: the Gaussian mixture on the original, its convex hull per
leg and slice, and the mixture on the translation by the released weights, alone and within that hull. Beside Dice,
sensitivity and specificity inside the fascia (the hull of the true muscle), where fat between the muscles must be told
from muscle.

    python -m benchmarks.thigh_hull --data PREPARED
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from transeg.bundle.runs import WEIGHTS
from transeg.data.datalist import read_datalist
from transeg.methods.thigh.classical.mixture import segment_mixture
from transeg.methods.thigh.compartment import muscle_compartment
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import silhouette
from transeg.metrics.statistics import paired_difference

from benchmarks.results import write_result
from benchmarks.thigh_phantoms import BUNDLE, load, translate

TRANSLATION = "mixture on the translation"


def score(found: np.ndarray, truth: np.ndarray, fascia: np.ndarray) -> dict[str, float]:
    """Dice of the scan, and sensitivity and specificity inside the fascia."""
    return {
        "dice": dice(found, truth),
        "sensitivity": float(found[truth & fascia].mean()),
        "specificity": float(1 - found[~truth & fascia].mean()),
    }


def main(data: Annotated[Path, typer.Option(help="Prepared phantoms, as for `benchmarks.thigh_phantoms`.")]) -> None:
    """Segment, score and write the result."""
    images, masks, spacing = load(read_datalist(data / "datalist.json", "test_volumes"))
    translated = translate(images, BUNDLE / WEIGHTS)
    scores: dict[str, list[dict[str, float]]] = {}
    for case, image in images.items():
        body = silhouette(image)
        original, healthy = (segment_mixture(volume)[0].astype(bool) for volume in (image, translated[case]))
        hull = muscle_compartment(original, body, spacing)
        fascia = muscle_compartment(masks[case], body, spacing)
        segmentations = {
            "mixture on the original": original,
            "hull of the mixture on the original": hull,
            TRANSLATION: healthy,
            f"{TRANSLATION}, within that hull": healthy & hull,
        }
        for name, found in segmentations.items():
            scores.setdefault(name, []).append(score(found, masks[case], fascia))
    dices = {name: [values["dice"] for values in found] for name, found in scores.items()}
    figures: dict[str, Any] = {
        name: {key: round(float(np.mean([values[key] for values in found])), 3) for key in found[0]}
        for name, found in scores.items()
    }
    figures |= {
        "difference": {
            f"{own} - {other}": paired_difference(dices[own], dices[other])
            for own in dices
            if own.startswith(TRANSLATION)
            for other in dices
            if not other.startswith(TRANSLATION)
        },
        "dice": {name: np.round(values, 3).tolist() for name, values in dices.items()},
    }
    print(figures)
    print(write_result("thigh_hull", "severe thigh phantoms", [0], figures))


if __name__ == "__main__":
    typer.run(main)
