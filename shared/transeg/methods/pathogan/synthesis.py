"""Sampled pathologies in healthy brain volumes, with their masks: training data for a supervised network.

Source: Andermatt et al. 2018, section 2.2: the generator G_A with a code of the pathology drawn from N(0, I).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.networks.utils import eval_mode
from monai.transforms import AsDiscreted, Compose, Invertd, InvertibleTransform, MapTransform

from transeg.errors import VolumeError
from transeg.files import case_name
from transeg.methods.pathogan.slice_scores import slices_between
from transeg.transforms.brain import brain_mask
from transeg.transforms.centre import file_name
from transeg.transforms.intensity import RestoreIntensityd
from transeg.transforms.outputs import SaveVolumed

logger = logging.getLogger(__name__)


class Synthesised(MapTransform):
    """Draw a pathology for a preprocessed healthy volume (C, X, Y, Z), in the slices that the training saw.

    The item gets "pathology", the probability map l (1, X, Y, Z), 0 in all other slices, and "inpainting" p
    (C, X, Y, Z), there the image itself. All slices share one code, so that neighbours show the same pathology as far
    as a network for slices can; it depends on `seed`, the name of the case and `sample` alone.

    Args:
        keys: the preprocessed image.
        network: a `PathoGANNet` for slices; one for volumes would need volumes of one size in Z too, and is refused.
        sample: number of the sample.
        seed: not negative.
        first: lowest slice that is changed, in mm above the lowest one of the preprocessed volume.
        last: highest one, likewise.
        batch_size: slices in one call of the network.

    Raises:
        ValueError: a network for volumes, or slices of another size than the network's.
        VolumeError: no slice lies between `first` and `last`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: torch.nn.Module,
        sample: int = 1,
        seed: int = 0,
        first: float = 60.0,
        last: float = 100.0,
        batch_size: int = 16,
    ) -> None:
        super().__init__(keys)
        self.size = tuple(network.decoder.image_size)
        if len(self.size) != 2:
            raise ValueError(f"image_size {self.size}: pathologies are sampled in slices; use spatial_dims 2")
        self.network, self.sample, self.seed, self.batch_size = network, sample, seed, batch_size
        self.first, self.last = first, last

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item with the pathology and the inpainting, in normalised units."""
        item = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            chosen = self._chosen(image)
            slices = image.as_tensor()[..., chosen].movedim(-1, 0)
            generator = np.random.default_rng([self.seed, self.sample, *case_name(item, key).encode()])
            code = torch.as_tensor(generator.standard_normal((1, self.network.code), np.float32)).to(slices)
            logits, inpainting = self._generate(slices, code)
            item["pathology"], item["inpainting"] = torch.zeros_like(image[:1]), image.clone()
            item["pathology"][..., chosen] = logits.sigmoid().movedim(0, -1)
            item["inpainting"][..., chosen] = inpainting.movedim(0, -1)
        return item

    def _chosen(self, image: torch.Tensor) -> list[int]:
        if tuple(image.shape[1:3]) != self.size:
            raise ValueError(f"slices of {tuple(image.shape[1:3])} voxels given, but the network is for {self.size}")
        chosen = slices_between(image.shape[-1], float(image.pixdim[-1]), self.first, self.last)
        if not chosen:
            raise VolumeError(
                f"{file_name(image)}: no slice lies from {self.first:g} to {self.last:g} mm above the lowest one; "
                "set first and last"
            )
        return chosen

    def _generate(self, slices: torch.Tensor, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = []
        with eval_mode(self.network):
            for part in slices.split(self.batch_size):
                parts.append(self.network.synthesise(part, code.expand(len(part), -1)))
        logits, inpainting = (torch.cat(outputs) for outputs in zip(*parts, strict=True))
        return logits, inpainting


class Implanted(MapTransform):
    """Blend the inpainting into the scan, y = l p + (1 - l) x, all on the grid and in the units of the scan.

    Done here rather than before the way back to that grid, so that the scan loses no detail where l is 0, as it is
    outside the brain. The item gets "synthetic" (C, X, Y, Z), and "pathology" is cut to the brain.

    Args:
        keys: the scan (C, X, Y, Z), 0 outside the brain.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item with the blend."""
        item = dict(data)
        for key in self.key_iterator(item):
            scan = item[key]
            item["pathology"] = item["pathology"].to(scan.device) * brain_mask(scan)
            part = item["pathology"].as_tensor()
            item["synthetic"] = part * item["inpainting"].as_tensor().to(scan.device) + (1 - part) * scan
            if part.max() < 0.5:
                logger.warning("%s: a sample of next to no pathology (at most %.2f)", case_name(item, key), part.max())
        return item


def synthesis_output(
    network: torch.nn.Module,
    preprocessing: InvertibleTransform,
    output_dir: PathLike,
    samples: int = 1,
    seed: int = 0,
    first: float = 60.0,
    last: float = 100.0,
    threshold: float = 0.5,
) -> Compose:
    """Make the transform that writes `<case>_sample<k>_image.nii.gz` and `_seg.nii.gz`, k = 1 to `samples`.

    It takes items with the preprocessed "image" and the healthy "scan" as it was loaded. What lies a slice of the
    preprocessed grid or more beyond `first` and `last` keeps its intensities exactly; in between, the pathology fades
    out by interpolation. Other arguments as for `Synthesised`, `monai.transforms.Invertd` and `SaveVolumed`.

    Raises:
        ValueError: no sample is asked for.
    """
    if samples < 1:
        raise ValueError(f"samples {samples}: ask for at least one for each scan")
    drawn = ["pathology", "inpainting"]
    steps: list[MapTransform] = []
    for sample in range(1, samples + 1):
        steps += [
            Synthesised("image", network, sample, seed, first, last),
            RestoreIntensityd("inpainting", source_key="image"),
            Invertd(drawn, preprocessing, orig_keys="image", nearest_interp=False),
            Implanted("scan"),
            SaveVolumed("synthetic", output_dir, postfix=f"sample{sample}_image"),
            AsDiscreted("pathology", threshold=threshold),
            SaveVolumed("pathology", output_dir, postfix=f"sample{sample}_seg", dtype=np.uint8),
        ]
    return Compose(steps)
