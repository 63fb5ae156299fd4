"""GenSeg's weights from TCGA-LGG: trained with all masks of the training patients.

The last weights, a moving average, are kept: no patient chooses anything. Scored are the written masks of whole test
patients, beside those of the threshold on FLAIR and of the classifier of voxels that are best on the same masks. With
--install the weights become those of the bundle; the run folder, without its training state and with weights in half
precision, is packed into the folder of the results in any case.

    python -m benchmarks.lgg_weights SLICES WORK --minutes 92 --install
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer
from transeg.bundle.runs import STATE
from transeg.data.datalist import read_datalist
from transeg.metrics.threshold import best_threshold

from benchmarks.lgg import (
    GENSEG,
    WITH_TRANSLATION,
    Install,
    Name,
    Settings,
    Slices,
    Test,
    Validation,
    Work,
    prepare,
    read_flair,
    read_reference,
    read_scan,
    release,
    score,
    settings_of,
    write,
)  # fmt: skip
from benchmarks.results import read_mask
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
    install: Install = False,
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
    found = {method: {0: score(masks, references)} for method, masks in written.items()}
    updates = torch.load(run / STATE, map_location="cpu", weights_only=True)["iteration"]
    path = write(name, METHOD, data, found, settings | {"minutes": minutes, "updates": updates})
    release(run, path, GENSEG, items, out, found[METHOD][0]["dice"], install)


if __name__ == "__main__":
    typer.run(main)
