"""What pseudo-labels are worth to a supervised network: a few masks of patients alone, and with predicted masks beside.

TCGA-LGG. The teacher is PathoGAN's released weights, which know of each slice of the training patients whether it shows
the tumour, and no mask. It segments some of them; `transeg export` joins these to the given masks of others; MONAI's
U-Net is trained on the slices of either data set for the same number of updates, and scored on the masks of whole test
patients.

    python -m benchmarks.student SLICES WORK
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import torch
import typer
from monai.data import load_decathlon_datalist
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from tqdm import trange
from transeg.bundle.segment import run_segmentation
from transeg.data.datalist import read_datalist
from transeg.export.command import run_export
from transeg.export.dataset import MONAI
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import body
from transeg.metrics.statistics import paired_difference

from benchmarks.lgg import GENSEG, PATHOGAN, Scans, Slices, Test, Validation, Work, prepare, read_reference, read_scan
from benchmarks.results import write_result

BATCH = 8


def data_sets(data: Path, work: Path, given: int, predicted: int, seed: int) -> dict[str, Path]:
    """Export given masks of some training patients, and these with predicted masks of others."""
    content = json.loads((data / "datalist.json").read_text())
    items = sorted(read_datalist(data / "datalist.json", "training_volumes"), key=lambda item: item["case"])
    taught, others = items[:predicted], items[predicted:]
    chosen = np.random.default_rng(seed).choice(len(others), given, replace=False)
    lists = {"given": [others[k] for k in sorted(chosen)], "taught": [_without_label(item) for item in taught]}
    for name, listed in lists.items():
        folder = work / (name if name == "taught" else f"{name}_{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        absolute = [{**item, "image": [str(Path(image).resolve()) for image in item["image"]]} for item in listed]
        absolute = [
            item | ({"label": str(Path(item["label"]).resolve())} if "label" in item else {}) for item in absolute
        ]
        (folder / "datalist.json").write_text(json.dumps({"recipe": content["recipe"], "training_volumes": absolute}))
    settings = {"save_probability": True, "split": "training_volumes"}
    run_segmentation(work / "taught", PATHOGAN, work / "teacher", settings, skip_done=True, pictures=False)
    sources = [work / f"given_{seed}", work / "teacher"]
    return {
        "given masks alone": run_export(sources[:1], work / f"Dataset{500 + 2 * seed}_Given"),
        "with predicted masks": run_export(sources, work / f"Dataset{501 + 2 * seed}_Joined"),
    }


def _without_label(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "label"}


def scaled(image: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1 in the body, 0 in the air: (C, X, Y, Z)."""
    inside = body(image)
    mean, std = (getattr(image[:, inside], of)(axis=1)[:, None, None, None] for of in ("mean", "std"))
    return (image - mean) / np.maximum(std, 1e-6) * inside


def read_slices(data_set: Path) -> tuple[np.ndarray, np.ndarray]:
    """Slices (N, C, X, Y) and masks (N, 1, X, Y) of a data list; 2 is to be ignored."""
    images, labels = [], []
    for item in load_decathlon_datalist(str(data_set / MONAI), data_list_key="training"):
        volumes = [np.asarray(nib.Nifti1Image.from_filename(file).dataobj, np.float32) for file in item["image"]]
        images.append(np.moveaxis(scaled(np.stack(volumes)), -1, 0))
        labels.append(np.moveaxis(np.asarray(nib.Nifti1Image.from_filename(item["label"]).dataobj), -1, 0)[:, None])
    return np.concatenate(images).astype(np.float32), np.concatenate(labels).astype(np.float32)


def train(data_set: Path, updates: int, seed: int) -> UNet:
    """Train on batches of which half are slices with the tumour; voxels to ignore count as neither class."""
    images, labels = (torch.from_numpy(part) for part in read_slices(data_set))
    torch.manual_seed(seed)
    network = UNet(2, images.shape[1], 1, (16, 32, 64, 128), (2, 2, 2), num_res_units=1)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    loss = DiceCELoss(sigmoid=True, batch=True)
    shown = (labels == 1).flatten(1).any(dim=1)
    pools = [torch.nonzero(part)[:, 0] for part in (shown, ~shown)]
    for _ in trange(updates, desc=data_set.name, disable=None):
        chosen = torch.cat([pool[torch.randint(len(pool), (BATCH // 2,))] for pool in pools])
        image, label = images[chosen], labels[chosen]
        if torch.rand(()) < 0.5:
            image, label = image.flip(2), label.flip(2)
        known = label != 2
        logits = network(image)
        optimiser.zero_grad()
        # an ignored voxel is given its own prediction, which has no gradient
        loss(
            torch.where(known, logits, logits.detach()), torch.where(known, label, logits.detach().sigmoid())
        ).backward()
        optimiser.step()
        schedule.step()
    return network.eval()


def score(network: UNet, tests: Scans) -> list[float]:
    """Dice of the whole masks of test patients."""
    scores = []
    for item in tests:
        slices = torch.from_numpy(np.moveaxis(scaled(read_scan(item)), -1, 0).astype(np.float32))
        with torch.no_grad():
            mask = np.moveaxis(network(slices)[:, 0].numpy() > 0, 0, -1)
        scores.append(dice(mask, read_reference(item)))
    return scores


def main(
    slices: Slices,
    work: Work,
    given: Annotated[int, typer.Option(help="Training patients with a given mask.")] = 4,
    predicted: Annotated[int, typer.Option(help="Training patients with a predicted mask.")] = 12,
    updates: Annotated[int, typer.Option(help="Of each training run.")] = 300,
    draws: Annotated[int, typer.Option(help="Draws of the patients with a given mask.")] = 1,
    validation: Validation = 8,
    test: Test = 16,
) -> None:
    """Train, compare and write the result."""
    data = prepare(slices, work / "lgg", GENSEG, validation, test, "--halves")
    tests = read_datalist(data / "datalist.json", "test_volumes")
    scores: dict[str, list[Sequence[float]]] = {}
    for seed in range(draws):
        for name, data_set in data_sets(data, work, given, predicted, seed).items():
            scores.setdefault(name, []).append(score(train(data_set, updates, seed), tests))
            print(name, seed, np.mean(scores[name][-1]))
    dices = {name: np.mean(own, axis=0) for name, own in scores.items()}
    alone, joined = dices
    figures = {
        "patients": {"given": given, "predicted": predicted, "test": len(tests)},
        "updates": updates,
        "draws": draws,
        "dice": {name: np.round(own, 3).tolist() for name, own in dices.items()},
        "mean": {name: round(float(own.mean()), 3) for name, own in dices.items()},
        "median": {name: round(float(np.median(own)), 3) for name, own in dices.items()},
        "difference": paired_difference(dices[joined], dices[alone]),
    }
    print(json.dumps(figures, indent=1))
    print(write_result("student", "TCGA-LGG, patients with three sequences, 128 x 128", list(range(draws)), figures))


if __name__ == "__main__":
    typer.run(main)
