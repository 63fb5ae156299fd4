"""Figure 2 of Gadermayr et al. 2021 on phantoms: three segmenters on originals and on five translations.

Trains the bundle for each setting G_{w_r, w_i} and seed, translates the severe test patients, and segments with the
mixture (GMM, no labels), the graph cut (GC) and the shape-prior graph cut (SPGC), both with the paper's grid search and
leave-one-patient-out. Finished runs and scores are not repeated.

    python -m data_prep.phantoms thigh --out RAW --cases 64
    python -m data_prep.thigh --data RAW --out PREPARED --test 8 --validation 2
    python -m benchmarks.thigh_phantoms --data PREPARED --out WORK --install
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from monai.bundle import ConfigParser
from transeg.bundle.runs import WEIGHTS
from transeg.data.datalist import read_datalist
from transeg.engines.weights import load_weights
from transeg.methods.thigh.classical.mixture import fit_mixture, segment_mixture
from transeg.methods.thigh.classical.search import Case, grid_search, paper_grid
from transeg.methods.thigh.classical.shape_prior import scan_shape_map
from transeg.methods.thigh.transforms import scan_legs
from transeg.metrics.overlap import dice

from benchmarks.results import ROOT, write_result
from benchmarks.run import install_weights, train

BUNDLE = ROOT / "bundles" / "thigh_mri_muscle_segmentation"
SETTINGS = {"G 0,0": (0, 0), "G 0,1": (0, 1), "G .5,1": (0.5, 1), "G 1,1": (1, 1), "G 2,1": (2, 1)}
RELEASED = "G .5,1"
Volumes = dict[str, np.ndarray]
Scores = dict[str, dict[str, float]]


def train_setting(data: Path, out: Path, setting: str, seed: int, epochs: int) -> Path:
    """Run folder of one setting and seed, trained unless finished."""
    run_dir = out / f"{setting.replace(' ', '_')}_{seed}"
    if not (run_dir / WEIGHTS).is_file():
        w_r, w_i = SETTINGS[setting]
        options = ["--w_r", w_r, "--w_i", w_i, "--seed", seed, "--epochs", epochs, "--val_interval", epochs]
        train(BUNDLE / "configs", ["train.json"], run_dir, "--dataset_dir", data, *options)
    return run_dir


def part_of_bundle(key: str) -> Any:
    """Content of a key of inference.json, with preprocessing of masks."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    parser["preprocessing#label_keys"] = "label"
    return parser.get_parsed_content(key)


def load(items: Sequence[Mapping[str, Any]]) -> tuple[Volumes, Volumes, tuple[float, ...]]:
    """Preprocessed scans and masks by case, and their voxel size."""
    preprocessing = part_of_bundle("preprocessing")
    images: Volumes = {}
    masks: Volumes = {}
    spacing: tuple[float, ...] = ()
    for item in items:
        volumes = preprocessing(item)
        images[item["case"]] = volumes["image"][0].numpy()
        masks[item["case"]] = volumes["label"][0].numpy() > 0
        spacing = tuple(volumes["image"].pixdim.tolist())
    return images, masks, spacing


@torch.no_grad()
def translate(images: Volumes, weights: Path) -> Volumes:
    """F(h) of every scan."""
    network, inferer = part_of_bundle("network_def"), part_of_bundle("inferer")
    load_weights(network, weights)
    network.eval()
    return {case: inferer(torch.from_numpy(x)[None, None], network)[0, 0].numpy() for case, x in images.items()}


def score(images: Volumes, masks: Volumes, shapes: Volumes, spacing: tuple[float, ...]) -> Scores:
    """Dice by segmenter and case."""
    scores = {"GMM": {case: dice(segment_mixture(x)[0], masks[case]) for case, x in images.items()}}
    for name, prior in (("GC", False), ("SPGC", True)):
        cases = [
            Case(case, fit_mixture(x).normalise(x), masks[case], spacing, shapes[case] if prior else None)
            for case, x in images.items()
        ]
        held_out = grid_search(cases, paper_grid(prior, slicewise=True), dice).held_out()
        scores[name] = {case: value for case, (_, value) in held_out.items()}
    return scores


def score_translations(
    images: Volumes, weights: Path, masks: Volumes, shapes: Volumes, spacing: tuple[float, ...]
) -> Scores:
    """Dice by segmenter and case on the translations by some weights."""
    return score(translate(images, weights), masks, shapes, spacing)


def kept(folder: Path, compute: Callable[[], Scores]) -> Scores:
    """Scores from `scores.json` of a folder; computed and written if missing."""
    path = folder / "scores.json"
    if not path.is_file():
        scores = compute()
        path.write_text(json.dumps(scores))
    return json.loads(path.read_text())


def shape_maps(images: Volumes, masks: Volumes, spacing: tuple[float, ...]) -> Volumes:
    """p_sp of every scan from the others, registered by their silhouettes."""
    legs = {case: scan_legs(case, image, spacing, masks[case]) for case, image in images.items()}
    atlas = [leg for both in legs.values() for leg in both]
    return {case: scan_shape_map(images[case].shape, both, atlas) for case, both in legs.items()}


def main(
    data: Annotated[Path, typer.Option(help="Prepared phantoms.")],
    out: Annotated[Path, typer.Option(help="Folder for weights and scores.")],
    seeds: Annotated[int, typer.Option(help="Number of random seeds.")] = 3,
    epochs: Annotated[int, typer.Option(help="Epochs of 150 updates.")] = 12,
    install: Annotated[bool, typer.Option(help="Copy the weights of seed 0 into the bundle.")] = False,
) -> None:
    """Train, segment, score and write the result."""
    images, masks, spacing = load(read_datalist(data / "datalist.json", "test_volumes"))
    shapes = shape_maps(images, masks, spacing)
    table = {"OI": [kept(out, lambda: score(images, masks, shapes, spacing))]}
    for setting in SETTINGS:
        table[setting] = []
        for seed in range(seeds):
            run_dir = train_setting(data, out, setting, seed, epochs)
            compute = partial(score_translations, images, run_dir / WEIGHTS, masks, shapes, spacing)
            scores = kept(run_dir, compute)
            table[setting].append(scores)
            print(setting, seed, {name: f"{np.median([*by_case.values()]):.3f}" for name, by_case in scores.items()})
    prepared = json.loads((data / "datalist.json").read_text())
    figures = {"dice": table, "updates": 150 * epochs, "preparation": prepared["preparation"]}
    print(write_result("thigh_phantoms", "thigh phantoms", list(range(seeds)), figures))
    if install:
        install_weights(out / f"{RELEASED.replace(' ', '_')}_0", BUNDLE)


if __name__ == "__main__":
    typer.run(main)
