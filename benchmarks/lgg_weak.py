"""Image-level labels of real patients: TCGA-LGG, where only which slices show the tumour is known, and no mask.

PathoGAN with and without its classifier, a classifier with a map of evidence, and the threshold on FLAIR that tells
slices with the tumour best from those without, with the same labels, by which those without a classifier of their own
choose threshold and least area of a mask as well. All slices of the head are used for training, segmented and scored.
The networks train for the same number of updates, or side by side for the same time. No mask chooses anything: the last
weights count. The exception favours a rival: thresholds on FLAIR in the slices that the classifier marks, the best one
for the test patients. The table scores the written masks of whole test patients, the same for all seeds. Training runs
that are done are not repeated, and those that were interrupted go on.

    python -m benchmarks.gpu.pack pack KAGGLE_3M SLICES.zip
    python -m benchmarks.gpu.pack unpack SLICES.zip SLICES
    python -m benchmarks.lgg_weak SLICES WORK --at-once 1 --option epochs=12 --option batches_per_epoch=100
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import typer
from transeg.data.datalist import read_datalist
from transeg.metrics.overlap import dice
from transeg.metrics.presence import areas_above, best_operating_point

from benchmarks.lgg import (
    PATHOGAN,
    WITH_TRANSLATION,
    Add,
    Install,
    Name,
    Settings,
    Slices,
    Test,
    Validation,
    Work,
    marked_slices,
    prepare,
    read_flair,
    read_reference,
    release,
    score,
    settings_of,
    write,
)  # fmt: skip
from benchmarks.results import read_mask
from benchmarks.side_by_side import Training, segment, train, updates

METHOD, CLASSIFIER = "PathoGAN", "classifier"
ALONE = "PathoGAN alone"
METHODS: dict[str, tuple[list[str], dict[str, object]]] = {  # overlays and settings
    METHOD: ([], {}),
    ALONE: ([], {"classifier_width": 0}),
    CLASSIFIER: (["baselines/classifier.json"], {}),
}
THRESHOLD, WITHIN = "threshold", "threshold in the classifier's slices"
INTENSITIES = [round(0.01 * k, 2) for k in range(30, 101)]  # candidates for it, as parts of the 99.5 percentile


def apply_threshold(flair: np.ndarray, limit: float, least: float) -> np.ndarray:
    """Voxels above the limit, in slices with more than `least` of them."""
    found = flair > limit
    return found & (found.sum((0, 1)) > least)


def best_threshold(
    flairs: Sequence[np.ndarray], slices: Sequence[np.ndarray], references: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Voxels in the marked slices (Z,) above the one threshold for all scans with the highest mean Dice."""
    inside = [flair * marked for flair, marked in zip(flairs, slices, strict=True)]

    def mean_dice(limit: float) -> float:
        return float(np.mean([dice(flair > limit, mask) for flair, mask in zip(inside, references, strict=True)]))

    limit = max(INTENSITIES, key=mean_dice)
    return [flair > limit for flair in inside]


def main(
    slices: Slices,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Most time of each training run.")] = 10_000,
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    first: Annotated[int, typer.Option(help="The first of them.")] = 0,
    validation: Validation = 8,
    test: Test = 16,
    at_once: Annotated[int, typer.Option(help="Training runs at a time; 0: all.")] = 0,
    name: Name = "lgg_weak",
    only: Annotated[str, typer.Option(help="One of the methods, beside the threshold.")] = "",
    option: Settings = None,
    add: Add = False,
    install: Install = False,
) -> None:
    """Train with each seed and score the masks that are written; pack the weights of the first."""
    methods = {only: METHODS[only]} if only else METHODS
    data = prepare(slices, work / "data", PATHOGAN, validation, test, "--image-level")
    settings = {"epochs": 10_000, "val_interval": 0, **settings_of(option)}
    numbers = range(first, first + seeds)
    runs = {(method, k): work / f"seed_{k}" / method.replace(" ", "_") for k in numbers for method in methods}
    trainings = []
    for (method, k), run in runs.items():
        overlays, own = METHODS[method]
        trainings.append(Training(run, PATHOGAN, data, overlays, {"seed": k, **own, **settings}))
    train(trainings, minutes, at_once)
    outs = {key: run.with_name(f"{run.name}_masks") for key, run in runs.items()}
    segment(
        {outs[key]: (run, data) for key, run in runs.items()},
        at_once,
        {
            out: ["--save_reports", False, *(() if method == CLASSIFIER else WITH_TRANSLATION)]
            for (method, _), out in outs.items()
        },
    )

    items = read_datalist(data / "datalist.json", "test_volumes")
    references = [read_reference(item) for item in items]
    training = read_datalist(data / "datalist.json", "training_volumes")
    flairs = [read_flair(item) for item in training]
    shown = [_shown(item, flair.shape[2]) for item, flair in zip(training, flairs, strict=True)]
    areas = np.concatenate([areas_above(flair, INTENSITIES) for flair in flairs], axis=1)
    limit, least, _ = best_operating_point(areas, np.concatenate(shown), INTENSITIES)
    flairs = [read_flair(item) for item in items]
    found = {THRESHOLD: {0: score([apply_threshold(flair, limit, least) for flair in flairs], references)}}
    for method, k in runs:
        masks = [read_mask(outs[method, k] / f"{item['case']}_seg.nii.gz") for item in items]
        found.setdefault(method, {})[k] = {**score(masks, references), "updates": [updates(runs[method, k])]}
        if method == CLASSIFIER:
            thresholded = best_threshold(flairs, [marked_slices(mask) for mask in masks], references)
            found.setdefault(WITHIN, {})[k] = score(thresholded, references)
    notes = {"minutes": minutes, **settings, "threshold": round(limit, 3), "voxels": least}
    path = write(name, METHOD, data, found, notes, add)
    print(path)
    if (METHOD, 0) in runs:
        release(runs[METHOD, 0], path, PATHOGAN, items, outs[METHOD, 0], found[METHOD][0]["dice"], install)


def _shown(item: Mapping[str, Any], slices: int) -> np.ndarray:
    """Which slices of a scan are known to show the tumour, (Z,)."""
    z = np.arange(slices)
    return np.any([(first <= z) & (z <= last) for first, last in item["presence"]], axis=0)


if __name__ == "__main__":
    typer.run(main)
