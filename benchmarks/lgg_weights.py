"""GenSeg's weights from TCGA-LGG: trained with all masks of the training patients.

The last weights, a moving average, are kept: no patient chooses anything. Scored are the written masks of whole test
patients, beside those of the threshold on FLAIR and of the classifier of voxels that are best on the same masks. With
--install the weights become those of the bundle; the run folder, without its training state and with weights in half
precision, is packed into the folder of the results in any case.

    python -m benchmarks.lgg_weights SLICES WORK --minutes 92 --install
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
import torch
import typer
from transeg.bundle.runs import STATE
from transeg.data.datalist import read_datalist
from transeg.metrics.threshold import best_threshold

from benchmarks.lgg import (
    DATA,
    GENSEG,
    WITH_TRANSLATION,
    Install,
    Name,
    Settings,
    Slices,
    Test,
    Validation,
    Work,
    draw,
    install,
    pack,
    prepare,
    read_flair,
    read_reference,
    read_scan,
    score,
    settings_of,
    summary,
)  # fmt: skip
from benchmarks.results import paired_difference, read_mask, write_result
from benchmarks.side_by_side import Training, segment, train
from benchmarks.voxels import VoxelClassifier

OVERLAYS = ["averaged.json", "strong_augmentation.json"]
SETTINGS: dict[str, Any] = {
    "width": 6,
    "batches_per_epoch": 50,
    "batch_size": 10,
    "labelled_per_batch": 10,
    "w_segmentation": 10,
    "network_def#prior": 0.02,
}
METHOD = "GenSeg"


def main(
    slices: Slices,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Time of the training run.")] = 92,
    validation: Validation = 8,
    test: Test = 16,
    name: Name = "lgg_weights",
    option: Settings = None,
    install_weights: Install = False,
) -> None:
    """Train, segment, score and pack."""
    data, run, out = (work / part / GENSEG.name for part in ("data", "run", "masks"))
    prepare(slices, data, GENSEG, validation, test, "--halves")
    settings = {"seed": 0, "epochs": 10_000, "val_interval": 0, "save_last": True, **SETTINGS, **settings_of(option)}
    train([Training(run, GENSEG, data, OVERLAYS, settings)], minutes)
    segment({out: (run, data)}, options={out: WITH_TRANSLATION})

    known, items = (read_datalist(data / "datalist.json", f"{split}_volumes") for split in ("training", "test"))
    masks, references = ([read_reference(item) for item in group] for group in (known, items))
    limit = best_threshold([read_flair(item) for item in known], masks)
    classifier = VoxelClassifier([read_scan(item) for item in known], masks)
    written = {
        "threshold": [read_flair(item) > limit for item in items],
        "voxel classifier": [classifier(read_scan(item)) for item in items],
        METHOD: [read_mask(out / f"{item['case']}_seg.nii.gz") for item in items],
    }
    found = {method: score(masks, references) for method, masks in written.items()}
    dices = {method: values["dice"] for method, values in found.items()}
    updates = torch.load(run / STATE, map_location="cpu", weights_only=True)["iteration"]
    figures = {
        **{method: summary([values]) for method, values in found.items()},
        "difference": {other: paired_difference(dices[METHOD], dices[other]) for other in dices if other != METHOD},
        "dice": {method: np.round(values, 3).tolist() for method, values in dices.items()},
        "kept": json.loads((data / "datalist.json").read_text())["preparation"]["kept"],
        "settings": settings | {"minutes": minutes, "updates": updates},
    }
    print(json.dumps({key: figures[key] for key in (*found, "difference")}, indent=1))
    path = write_result(name, DATA, [0], figures)
    print(path, pack(run, path))
    if install_weights:
        install(run, GENSEG)
        draw(items, out, dices[METHOD], GENSEG / "docs" / "lgg.png")


if __name__ == "__main__":
    typer.run(main)
