"""What the demos on brain tumours share: phantoms, an untrained network, a threshold to beat, masks and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.utils import ensure_tuple
from PIL import Image

from transeg.data.datalist import read_datalist
from transeg.demo.steps import read_ras, run, run_bundle, say
from transeg.method import Scale
from transeg.metrics.overlap import dice
from transeg.metrics.threshold import best_threshold
from transeg.networks.spectral import plain_state_dict
from transeg.visual.panel import panel
from transeg.visual.volumes import VOLUME_TITLES, volume_row

Volumes = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]  # images and their labels, of equal shapes


def make_phantoms(raw: Path, scale: Scale) -> None:
    """Write brain phantoms in the layout of BraTS."""
    say("Making phantom patients in the layout of BraTS")
    run("-m", "data_prep.phantoms", "brain", "--out", raw, *scale.raw(), "--overwrite")


def save_untrained(configs: Path, data: Path, path: Path, seed: int, **settings: object) -> None:
    """Save the weights of a bundle's network for prepared data as they are before any training with some settings."""
    parser = ConfigParser()
    parser.read_config(configs / "train.json")
    parser.update({"dataset_dir": str(data), "bundle_root": str(configs.parent), **settings})
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(plain_state_dict(parser.get_parsed_content("network_def")), path)


def dice_above_threshold(chosen: Volumes, tested: Volumes) -> list[float]:
    """Dice of each tested volume for the threshold that is best on the others."""
    threshold = best_threshold(*chosen)
    return [dice(image > threshold, label) for image, label in zip(*tested, strict=True)]


def segment_and_draw(data: Path, out: Path, choose_slice: Callable[[np.ndarray, str], int] | None = None) -> None:
    """Write masks, probabilities and translations of the test patients with the trained weights, and `demo.png`."""
    say("Segmenting them: masks, probabilities and healthy translations on the scans' own grid")
    options = ["--dataset_dir", data, "--output_dir", out / "masks", "--save_probability", True]
    options += ["--save_translation", True]
    run_bundle("inferring", out / "run" / "configs", ["inference.json"], *options)
    items = read_datalist(data / "datalist.json", "test_volumes")
    Image.fromarray(draw(items, out / "masks", choose_slice=choose_slice)).save(out / "demo.png")


def draw(
    items: Sequence[dict], masks: Path, rows: int = 4, choose_slice: Callable[[np.ndarray, str], int] | None = None
) -> np.ndarray:
    """Picture (H, W, 3) of the first test patients: what `volume_row` shows, of the FLAIR channel.

    Args:
        items: of a list of volumes with labels.
        masks: folder of what inference wrote.
        rows: most patients.
        choose_slice: from a label (X, Y, Z) and its file to the slice to show; default the one with most of it.
    """
    drawn = []
    for item in items[:rows]:
        case = item["case"]
        volumes = [read_ras(ensure_tuple(item["image"])[0]) * (read_ras(item["mask"]) if "mask" in item else 1)]
        volumes += [read_ras(masks / f"{case}_{kind}.nii.gz") for kind in ("translation", "prob", "seg")]
        source, translation, probability, mask = volumes
        label = read_ras(item["label"])
        z = None if choose_slice is None else choose_slice(label, item["label"])
        drawn.append(volume_row(source, translation[..., 0], probability, mask, label, z))
    return panel(drawn, VOLUME_TITLES)
