"""Graph cuts learned from annotated scans, stored in a folder and used instead of the Gaussian mixture.

Gadermayr et al. 2021, sections 2.2 and 2.3: the intensity model, the shape prior and the parameters are learned from
annotated scans; for translated images, from the translations of these scans.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.networks.utils import eval_mode

from transeg.engines.weights import load_weights
from transeg.errors import DataError
from transeg.files import atomic, write_text
from transeg.methods.thigh.classical.intensity import IntensityModel, count_intensities, learn_intensity
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.methods.thigh.classical.search import Case, grid_search, paper_grid
from transeg.methods.thigh.classical.shape_prior import Leg, load_atlas, save_atlas, scan_shape_map
from transeg.methods.thigh.classical.spgc import CutParameters, filtered
from transeg.methods.thigh.transforms import SegmentGraphCutd, scan_legs
from transeg.metrics.overlap import dice

logger = logging.getLogger(__name__)
INTENSITY, PARAMETERS, ATLAS, SEARCH = "intensity.json", "parameters.json", "atlas.npz", "search.csv"


class GraphCutLearner:
    """Learns the graph cut (GC) or the shape-prior graph cut (SPGC) of translated scans.

    Args:
        data: annotated scans, {"image": file, "label": file, "case": name}; at least two, better three or more.
        preprocessing: maps such an item to "image" and "label" (1, X, Y, Z) in RAS.
        network: translator; None learns from the original scans.
        weights: weights file of the translator.
        inferer: called as `inferer(batch, network)`.
        folder: output folder for the intensity model, the parameters, the atlas and the table of the search.
        shape_prior: learn SPGC instead of GC.
        grid: parameter sets to try; default: those of the paper.
    """

    def __init__(
        self,
        data: Sequence[Mapping[str, Any]],
        preprocessing: Callable[[dict[str, Any]], Mapping[str, Any]],
        network: torch.nn.Module | None,
        weights: PathLike,
        inferer: Callable[[torch.Tensor, torch.nn.Module], torch.Tensor],
        folder: PathLike,
        shape_prior: bool = True,
        grid: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        self.data, self.preprocessing, self.network, self.inferer = list(data), preprocessing, network, inferer
        self.weights, self.folder, self.shape_prior = Path(weights), Path(folder), shape_prior
        self.grid = paper_grid(shape_prior) if grid is None else [CutParameters(**entry) for entry in grid]

    def run(self) -> CutParameters:
        """Select the parameters by leave-one-subject-out search, learn from all scans and write the result.

        Returns:
            The selected parameters.

        Raises:
            DataError: fewer than two annotated scans.
        """
        items = [item for item in self.data if "label" in item]
        if len(items) < 2:
            raise DataError(
                f"{len(items)} of {len(self.data)} scans have a mask, but learning a graph cut needs at least two; "
                "choose another list (split) or annotate more scans"
            )
        if self.network is not None:
            load_weights(self.network, self.weights)
        cases, atlas = self._cases(items)
        result = grid_search(cases, self.grid, dice)
        best = result.best
        model = learn_intensity(count_intensities(filtered(case.z, best), case.muscle) for case in cases)
        self.folder.mkdir(parents=True, exist_ok=True)
        model.save(self.folder / INTENSITY)
        write_text(self.folder / PARAMETERS, json.dumps(asdict(best), indent=1) + "\n")
        if self.shape_prior:
            save_atlas(self.folder / ATLAS, atlas)
        table = result.table()
        with atomic(self.folder / SEARCH) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
        logger.info("%d scans, leave-one-out mean Dice %.3f, %s", len(cases), table[0]["mean"], best)
        return best

    def _cases(self, items: Sequence[Mapping[str, Any]]) -> tuple[list[Case], list[Leg]]:
        """Normalised intensities, masks and shape maps of the scans, and the legs that the shape maps come from."""
        volumes = [self.preprocessing(dict(item)) for item in items]
        names, spacings = [str(item["case"]) for item in items], [tuple(v["image"].pixdim.tolist()) for v in volumes]
        masks = [volume["label"][0].cpu().numpy() > 0 for volume in volumes]
        legs: list[list[Leg]] = []
        for name, volume, mask, spacing in zip(names, volumes, masks, spacings, strict=True):
            legs.append(scan_legs(name, volume["image"][0].cpu().numpy(), spacing, mask))
        atlas = [leg for own in legs for leg in own]
        cases = []
        for name, volume, mask, spacing, own in zip(names, volumes, masks, spacings, legs, strict=True):
            shape = scan_shape_map(mask.shape, own, atlas) if self.shape_prior else None
            image = self._translated(volume["image"])
            cases.append(Case(name, fit_mixture(image, name=name).normalise(image), mask, spacing, shape))
        return cases, atlas

    def _translated(self, image: torch.Tensor) -> np.ndarray:
        if self.network is not None:
            with eval_mode(self.network):
                device = next(self.network.parameters()).device
                image = self.inferer(torch.as_tensor(image)[None].to(device), self.network)[0]
        return image[0].cpu().numpy()


def load_graph_cut(folder: PathLike, keys: KeysCollection, output_keys: KeysCollection) -> SegmentGraphCutd:
    """Make the segmenter from the files of `GraphCutLearner`.

    Args:
        folder: folder of the files.
        keys: images (1, X, Y, Z) in RAS; list the scan before its translation, which reuses its shape map.
        output_keys: keys of the masks.

    Raises:
        FileNotFoundError: a file is missing.
    """
    folder = Path(folder)
    missing = [name for name in (INTENSITY, PARAMETERS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder}: no {' and no '.join(missing)}; learn the graph cut first (run `learning`)")
    parameters = json.loads((folder / PARAMETERS).read_text())
    atlas = load_atlas(folder / ATLAS) if parameters["shape_weight"] else None
    model = IntensityModel.load(folder / INTENSITY)
    return SegmentGraphCutd(keys, model, output_keys, parameters, atlas, shape_key="shape")
