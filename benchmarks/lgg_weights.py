"""GenSeg's weights from TCGA-LGG, trained with all masks of the training patients, and what they are compared with.

A U-Net as nnU-Net would set it up, on the same masks and empty slices, and, without a network, the threshold on FLAIR
and the classifier of voxels that are best on them. The last weights, a moving average, are kept. Scored are the written
masks of whole test patients. With --install the weights become those of the bundle; the run folder, without its
training state and with weights in half precision, is packed into the folder of the results in any case. Training runs
that are done are not repeated, and those that were interrupted go on.

    python -m benchmarks.lgg_weights SLICES WORK --at-once 2 --install
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
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
from benchmarks.side_by_side import Training, segment, train, updates
from benchmarks.voxels import VoxelClassifier

GENSEG_NAME, UNET = "GenSeg", "U-Net"
UNET_OVERLAYS = ["baselines/segmentation_only.json", "baselines/segmentation_only_unet.json", "averaged.json"]
NETWORKS: dict[str, tuple[list[str], dict[str, Any]]] = {  # overlays and settings
    UNET: (UNET_OVERLAYS, {"epochs": 22, "batches_per_epoch": 50, "batch_size": 6}),
    GENSEG_NAME: (
        ["averaged.json", "strong_augmentation.json"],
        {
            "epochs": 38,
            "batches_per_epoch": 50,
            "batch_size": 10,
            "labelled_per_batch": 10,
            "width": 6,
            "w_segmentation": 10,
            "network_def#prior": 0.02,
        },
    ),
}
SHARED = {"epochs", "batches_per_epoch", "batch_size"}  # settings that --option sets for all networks


def main(
    slices: Slices,
    work: Work,
    minutes: Annotated[float, typer.Option(help="Most time of each training run.")] = 10_000,
    at_once: Annotated[int, typer.Option(help="Training runs at a time; 0: all.")] = 0,
    validation: Validation = 8,
    test: Test = 16,
    name: Name = "lgg_weights",
    option: Settings = None,
    install: Install = False,
) -> None:
    """Train, segment, score and pack."""
    data = prepare(slices, work / "data", GENSEG, validation, test, "--halves")
    settings: dict[str, dict[str, Any]] = {}
    for method, (_, own) in NETWORKS.items():
        given = {key: v for key, v in settings_of(option).items() if method == GENSEG_NAME or key in SHARED}
        settings[method] = {"seed": 0, "val_interval": 0, "save_last": True, **own, **given}
    runs = {method: work / "run" / method for method in NETWORKS}
    outs = {method: work / "masks" / method for method in NETWORKS}
    trainings = [
        Training(runs[method], GENSEG, data, overlays, settings[method]) for method, (overlays, _) in NETWORKS.items()
    ]
    train(trainings, minutes, at_once)
    segment({outs[m]: (run, data) for m, run in runs.items()}, at_once, {outs[GENSEG_NAME]: WITH_TRANSLATION})

    known, items = (read_datalist(data / "datalist.json", f"{split}_volumes") for split in ("training", "test"))
    masks, references = ([read_reference(item) for item in group] for group in (known, items))
    limit = best_threshold([read_flair(item) for item in known], masks)
    classifier = VoxelClassifier([read_scan(item) for item in known], masks)
    written = {
        "threshold": [read_flair(item) > limit for item in items],
        "voxel classifier": [classifier(read_scan(item)) for item in items],
        **{m: [read_mask(out / f"{item['case']}_seg.nii.gz") for item in items] for m, out in outs.items()},
    }
    found = {method: {0: score(masks, references)} for method, masks in written.items()}
    notes = {"minutes": minutes, **{m: settings[m] | {"updates": updates(run)} for m, run in runs.items()}}
    path = write(name, GENSEG_NAME, data, found, notes)
    release(runs[GENSEG_NAME], path, GENSEG, items, outs[GENSEG_NAME], found[GENSEG_NAME][0]["dice"], install)


if __name__ == "__main__":
    typer.run(main)
