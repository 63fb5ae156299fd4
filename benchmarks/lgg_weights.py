"""GenSeg's weights from TCGA-LGG, trained with all masks of the training patients, and what they are compared with.

A U-Net as nnU-Net would set it up, on the same masks and empty slices, and, without a network, the threshold on FLAIR
and the classifier of voxels that are best on them. The last weights, a moving average, are kept. Scored are the written
masks of whole test patients. With --install the weights become those of the bundle; the run folder, without its
training state and with weights in half precision, is packed into the folder of the results in any case. Training runs
that are done are not repeated, and those that were interrupted go on.

    python -m benchmarks.lgg_weights SLICES WORK --at-once 2 --install
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple

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


class Network(NamedTuple):
    """How a network is trained."""

    overlays: list[str]
    settings: dict[str, Any]
    preparation: str  # "whole" slices or "half" ones


GENSEG_NAME, UNET = "GenSeg", "U-Net"
NETWORKS = {
    UNET: Network(
        ["baselines/segmentation_only.json", "baselines/segmentation_only_unet.json", "averaged.json"],
        {"epochs": 22, "batches_per_epoch": 50, "batch_size": 6},
        "half",
    ),
    GENSEG_NAME: Network(
        ["averaged.json", "strong_augmentation.json"],
        {
            "epochs": 26,
            "batches_per_epoch": 50,
            "batch_size": 5,
            "labelled_per_batch": 5,
            "width": 8,
            "w_segmentation": 30,
            "w_cross_entropy": 1,
            "network_def#prior": 0.02,
        },
        "whole",
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
    data = {kind: work / "data" / kind for kind in ("whole", "half")}
    for kind, folder in data.items():
        prepare(slices, folder, GENSEG, validation, test, *(["--halves"] if kind == "half" else []))
    settings: dict[str, dict[str, Any]] = {}
    for method, (_, own, _) in NETWORKS.items():
        given = {key: v for key, v in settings_of(option).items() if method == GENSEG_NAME or key in SHARED}
        settings[method] = {"seed": 0, "val_interval": 0, "save_last": True, **own, **given}
    runs = {method: work / "run" / method for method in NETWORKS}
    outs = {method: work / "masks" / method for method in NETWORKS}
    places = {method: data[network.preparation] for method, network in NETWORKS.items()}
    train(
        [Training(runs[m], GENSEG, places[m], network.overlays, settings[m]) for m, network in NETWORKS.items()],
        minutes,
        at_once,
    )
    segment({outs[m]: (runs[m], places[m]) for m in runs}, at_once, {outs[GENSEG_NAME]: WITH_TRANSLATION})

    lists = data["whole"] / "datalist.json"
    known, items = (read_datalist(lists, f"{split}_volumes") for split in ("training", "test"))
    masks, references = ([read_reference(item) for item in group] for group in (known, items))
    limit = best_threshold([read_flair(item) for item in known], masks)
    classifier = VoxelClassifier([read_scan(item) for item in known], masks)
    written = {
        "threshold": [read_flair(item) > limit for item in items],
        "voxel classifier": [classifier(read_scan(item)) for item in items],
        **{m: [read_mask(out / f"{item['case']}_seg.nii.gz") for item in items] for m, out in outs.items()},
    }
    found = {method: {0: score(masks, references)} for method, masks in written.items()}
    notes = {"minutes": minutes, **{m: settings[m] | {"updates": _updates(run)} for m, run in runs.items()}}
    path = write(name, GENSEG_NAME, data["whole"], found, notes)
    release(runs[GENSEG_NAME], path, GENSEG, items, outs[GENSEG_NAME], found[GENSEG_NAME][0]["dice"], install)


def _updates(run: Path) -> int:
    return torch.load(run / STATE, map_location="cpu", weights_only=True)["iteration"]


if __name__ == "__main__":
    typer.run(main)
